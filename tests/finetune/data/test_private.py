import base64
import random
import string

import pytest

from finetune.data.private import Finding, Redactor, found, redacted

RANDOM = random.Random(11)
LETTERS = string.ascii_letters + string.digits


def made(length: int, alphabet: str = LETTERS) -> str:
    """No real secret: made anew, so that no scanner of repositories finds one here."""
    return "a1B2" + "".join(RANDOM.choices(alphabet, k=length - 4))


def jwt() -> str:
    parts = (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890"}', RANDOM.randbytes(32))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def private_key(name: str = "RSA ") -> str:
    body = "\n".join(made(64) for _ in range(4))
    return f"-----BEGIN {name}PRIVATE KEY-----\n{body}\n-----END {name}PRIVATE KEY-----"


SECRETS = [
    ("API_KEY", "the key is ", "sk-penstock-" + made(43), " in production"),
    ("API_KEY", "OPENAI_API_KEY=", "sk-proj-" + made(20) + "T3BlbkFJ" + made(20), ""),
    ("API_KEY", "use ", "AKIA" + "Q2W3E4R5T6Y7U8I9", " for the bucket"),
    ("API_KEY", 'aws_secret_access_key = "', made(40), '"'),
    ("API_KEY", "charge it with ", "sk_live_" + made(24), ", please"),
    ("API_KEY", "mail goes out by ", f"SG.{made(22)}.{made(43)}", ""),
    ("TOKEN", "git clone with ", "ghp_" + made(36), " as the password"),
    ("TOKEN", "or ", "glpat-" + made(20), " on the other host"),
    ("TOKEN", "the bot's is ", "xoxb-123456789012-" + made(24), ""),
    ("TOKEN", "models come with ", "hf_" + made(34), "."),
    ("TOKEN", "cookie: ", jwt(), "; path=/"),
    ("TOKEN", "curl -H 'Authorization: Bearer ", made(32), "'"),
    ("TOKEN", 'session = connect("', made(40), '")'),
    ("PASSWORD", "postgres://app:", "s3cr3t-w0rd", "@db.internal/app"),
    ("PASSWORD", 'password = "', "hunter2hunter2", '"'),
    ("PASSWORD", "My password is ", "Tr0ub4dor&3", " and it fails"),
    ("PASSWORD", "DB_PASSWORD=", "pw4711xy", "\nDB_HOST=db"),
    ("PASSWORD", '{"user": "x", "client_secret": "', "9f8e7d6c5b4a", '"}'),
    ("PRIVATE_KEY", "my key:\n", private_key(), "\nwhy is it refused?"),
    ("PRIVATE_KEY", "", private_key("OPENSSH "), ""),
    ("PRIVATE_KEY", "cut short: ", private_key("")[:150], ""),
]
PERSONAL = [
    ("EMAIL", "write to ", "jane.doe@example.com", " today"),
    ("EMAIL", "<", "jörg+shop@mail.example.co.uk", ">"),
    ("PHONE", "call ", "+49 30 901820", " after six"),
    ("PHONE", "or ", "(415) 555-2671", " in the office"),
    ("PHONE", "mobile: ", "+14155552671", ""),
    ("CARD", "card ", "4111 1111 1111 1111", ", valid"),
    ("CARD", "card ", "5555555555554444", ""),
    ("IBAN", "pay to ", "DE89370400440532013000", " by Friday"),
    ("IBAN", "pay to ", "GB29 NWBK 6016 1331 9268 19", ""),
    ("SSN", "my number is ", "536-22-8726", " as you asked"),
    ("IP", "logged in from ", "93.184.216.34", " at noon"),
    ("IP", "and from ", "2a00:1450:4001:81b::200e", ""),
    ("MAC", "the card is ", "3c:22:fb:9a:10:7e", ""),
    ("WALLET", "send it to ", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", ""),
]
BENIGN = [
    "Order 1234567890 was shipped, tracking number 9400110200881234567890.",
    "Order no. 555-012-3456, invoice 2024-000123, ticket #48151623.",
    "Upgrade from version 1.2.3.4 to 2.10.0.1; Chrome/120.0.0.0 and driver 31.0.15.3623 are fine.",
    "numpy==1.26.4, python 3.11.9, release 24.04.1 LTS, v10.20.30.40",
    "It happened on 2024-01-02 at 12:30:45, not on 03/04/2023 nor on 5.6.2022, 2023-11-27T21:40:32Z.",
    "The years 1998-2004 and 2010 - 2014; pages 100-120, 1024x768, 3.14159265358979.",
    "It costs $12.50, 1,299.00 EUR or 12 345 678 yen; 1 000 000 people, 0.000012345678.",
    "id 550e8400-e29b-41d4-a716-446655440000 and '6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
    'commit "9fceb02d0ae598e95dc970b74767f19372d61af8" (sha1), etag "d41d8cd98f00b204e9800998ecf8427e"',
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "for i in range(10): x = a[::2]; y = std::max(1, 2); import java.util::abc",
    "def check(password: str, token: int) -> bool: return hash(password) == self.password_hash",
    'password = os.environ["DB_PASSWORD"]; api_key = get_secret("name"); secret = "${SECRET_1}"',
    'parser.add_argument("--max-tokens", default=4096); model = "meta-llama/Llama-3.1-8B-Instruct"',
    "alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'",
    "Forgot your password? Click on 'Reset password' and choose a new password of 12 characters.",
    "The secret is to knead it for 10 minutes. The password is case-sensitive.",
    "git clone git@github.com:org/name.git and npm install lodash@4.17.21, @types/node@20.1.2",
    "https://user:<password>@host/path, tracking 607066894517968 and 13387707569139",
    "127.0.0.1, 10.0.0.12, 192.168.1.20 and 0.0.0.0 are addresses of nobody; localhost:8000/v1",
    "The printer is at 192.168.100.200, the router at 172.16.254.100.",
    "ISBN 978-3-16-148410-0, part 12-3456-789, model SK-1234, room A-113, flight LH2034",
    "SHA fingerprint 3c:22:fb:9a:10:7e:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd",
    "Ask-me-anything sessions and task-runner-configuration-for-2024-and-later are risk-free.",
    '{"role": "user", "content": "hello", "temperature": 0.7, "seed": 123456789}',
    "日本語のテキスト、価格は 1,200 円です。 Größe 42, Straße 7, 12345 Berlin",
]


@pytest.mark.parametrize(("kind", "before", "value", "after"), SECRETS + PERSONAL)
def test_a_value_is_found_where_it_stands(kind: str, before: str, value: str, after: str) -> None:
    assert found(before + value + after) == [Finding(kind, len(before), len(before) + len(value))]


@pytest.mark.parametrize(("kind", "before", "value", "after"), SECRETS + PERSONAL)
def test_a_mark_stands_in_its_place_and_nothing_is_found_any_more(
    kind: str, before: str, value: str, after: str
) -> None:
    clean = redacted(before + value + after)
    assert clean == f"{before}<{kind}_1>{after}"
    assert found(clean) == []


@pytest.mark.parametrize("text", BENIGN)
def test_what_only_looks_alike_stays_as_it_is(text: str) -> None:
    assert [text[one.start : one.end] for one in found(text)] == []
    assert redacted(text) == text


def test_one_value_has_one_mark_and_another_one_the_next_number() -> None:
    text = "a@example.com, b@example.com and a@example.com again"
    assert redacted(text) == "<EMAIL_1>, <EMAIL_2> and <EMAIL_1> again"


def test_texts_that_belong_together_share_their_marks() -> None:
    redactor = Redactor()
    assert redactor.text("I am a@example.com") == "I am <EMAIL_1>"
    assert redactor.text("not b@example.com but a@example.com") == "not <EMAIL_2> but <EMAIL_1>"
    assert redactor.counts == {"EMAIL": 3}


def test_what_overlaps_is_one_mark_of_the_graver_kind() -> None:
    text = "postgres://app:p4ss.w0rd@db.example.com/x"
    assert redacted(text) == "postgres://app:<PASSWORD_1>/x"


def test_nothing_is_found_in_many_values_glued_together() -> None:
    pieces = [before + value + after for _, before, value, after in SECRETS + PERSONAL]
    for seed in range(30):
        shuffled = random.Random(seed).sample(pieces, len(pieces))
        for glue in ("\n", " ", "", '", "'):
            clean = redacted(glue.join(shuffled))
            assert found(clean) == []
            assert glue != "\n" or not [value for _, _, value, _ in SECRETS + PERSONAL if value in clean]


def test_a_text_that_holds_marks_is_left_alone() -> None:
    text = 'password = "<PASSWORD_1>", write to <EMAIL_2>, token <API_KEY_13>'
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "a." * 20_000 + " x@example.com",
        "password" * 5_000 + "=",
        "//" * 20_000 + ":_authToken=x",
        "12 " * 15_000,
        '" ' * 20_000 + "== password",
        "-----BEGIN PRIVATE KEY " * 2_000,
    ],
)
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    assert len(found(text)) == text.count("@")
