"""The subcommands of `penstock`: words in, calls to the packages below, words out. No logic of the stack lives here."""
