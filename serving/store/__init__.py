"""SQL: schema, migrations and queries. No other folder speaks SQL."""
