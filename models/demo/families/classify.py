"""Easy family `classify`: which of five kinds a customer's message is."""

from random import Random

from models.demo.families import values
from models.demo.families.example import Example, Split
from models.demo.families.wording import ORDERS, Wordings, assemble

NAME = "classify"

COMPLAINTS: dict[str, Wordings] = {
    "billing": Wordings(
        train=(
            "The invoice was paid two times.",
            "The invoice is wrong.",
            "The price on the invoice is too high.",
            "I paid two times.",
            "The bill was not paid.",
            "The refund is too low.",
            "When do I get the refund?",
            "My payment is not on the invoice.",
            "The card payment failed two times.",
            "The bill shows a charge I do not know.",
            "You charged my card and sent no invoice.",
            "Please send the money back to my card.",
            "I want a refund.",
            "The charge is too high.",
            "The invoice shows the wrong price.",
            "My card was charged two times.",
            "I was charged too much.",
            "I want my money back.",
            "The refund has not come.",
            "The bill is too high.",
            "The payment failed.",
            "There is a wrong charge on my card.",
            "Why is the price on the bill so high?",
            "I paid, but the invoice is still open.",
        ),
        held_out=(
            "The invoice is too high.",
            "My card shows a wrong charge.",
            "The refund was not paid.",
            "I paid the bill two times.",
        ),
    ),
    "delivery": Wordings(
        train=(
            "The parcel has not arrived.",
            "The courier is late.",
            "The delivery is late.",
            "My parcel is lost.",
            "The driver is late with the truck.",
            "The driver has lost my delivery.",
            "The truck has not arrived.",
            "The delivery is lost.",
            "The parcel went to the wrong street.",
            "The courier went to the wrong house.",
            "Where is the truck with my delivery?",
            "The courier has my parcel and does not come.",
            "When does the delivery arrive?",
            "I wait for the parcel.",
            "The parcel is late.",
            "The driver went to the wrong house.",
            "Nobody has seen the parcel.",
            "The truck came to the wrong street.",
            "The delivery is three days late.",
            "When does the truck arrive?",
            "The courier lost the parcel.",
            "Where is my parcel now?",
            "The courier did not ring.",
            "The delivery went to a neighbour.",
        ),
        held_out=(
            "The delivery has not arrived.",
            "The courier is late with my parcel.",
            "The driver lost the parcel.",
            "The truck went to the wrong house.",
        ),
    ),
    "damage": Wordings(
        train=(
            "One of them arrived broken.",
            "Two of them are broken.",
            "One is scratched and bent.",
            "There is a crack in a part.",
            "They came cracked.",
            "A leg is bent.",
            "They are torn and dirty.",
            "Two came scratched.",
            "One has a scratch.",
            "They are cracked on one side.",
            "Some of them are bent.",
            "The paint is scratched.",
            "A side is broken and torn.",
            "They arrived with a crack.",
            "There is a crack in one.",
            "They are scratched.",
            "Two of them were broken in the box.",
            "The paint comes off and one is bent.",
            "One is cracked and does not work.",
            "They came dirty and torn.",
            "A part is bent.",
            "One leg is broken.",
            "There is a deep scratch on one side.",
            "The side is torn.",
        ),
        held_out=(
            "Two of them are cracked.",
            "One came bent and scratched.",
            "A part is broken.",
            "There is a scratch and a crack.",
        ),
    ),
    "account": Wordings(
        train=(
            "I cannot log in.",
            "The login does not work.",
            "I forgot my user name.",
            "The password is wrong.",
            "The login does not know my user name.",
            "My user name and password do not work.",
            "Please change my password.",
            "The email of my account is wrong.",
            "My login is locked.",
            "I cannot change the email.",
            "The site does not know my account.",
            "Please open my account, it is locked.",
            "I have two accounts, close one.",
            "My email and my login do not fit.",
            "My password does not work.",
            "I forgot my password.",
            "Please change my email address.",
            "My account is locked.",
            "The login page shows an error.",
            "I want to close my account.",
            "The site does not take my password.",
            "My email is not known to the site.",
            "How do I change my user name?",
            "I see the account of another user.",
        ),
        held_out=(
            "The login does not take my email.",
            "I forgot the user name of my account.",
            "My account and password do not work.",
            "Please change the password for my login.",
        ),
    ),
    "praise": Wordings(
        train=(
            "Thank you, they are wonderful.",
            "They are great.",
            "They are perfect, thanks.",
            "My family is happy.",
            "We love the quality.",
            "The quality is perfect.",
            "The best shop of all.",
            "Beautiful work, thank you.",
            "I love the shop.",
            "We are happy with them, thanks.",
            "Everything is great and beautiful.",
            "Thank you, my family loves the shop.",
            "Perfect, the best quality.",
            "Thanks, we love them.",
            "I love them.",
            "Great work, thank you.",
            "They are beautiful and I am happy.",
            "This was the best shop so far.",
            "Everything was perfect.",
            "I am very happy with them.",
            "Wonderful quality, thanks.",
            "My family loves them.",
            "The best I ever had, great.",
            "Thanks for the perfect help.",
        ),
        held_out=(
            "Thanks, they are perfect.",
            "I am happy and my family loves them.",
            "Great quality, the best shop.",
            "They are beautiful, thank you.",
        ),
    ),
}

REQUESTS = Wordings(
    train=(
        "What kind of message is this?",
        "Which kind is this message?",
        "What kind of ticket is this?",
        "Please classify the ticket.",
        "Classify this message, please.",
        "Please sort the message.",
        "Sort the ticket into a class.",
        "What class is this message?",
        "Which class of message is this?",
        "Tell me the class of this ticket.",
        "Tell me what kind this is.",
        "Name the class of this ticket.",
        "What is the kind of this ticket?",
        "Please tell me which kind of ticket this is.",
        "Give the message a class.",
        "Sort this message into billing, delivery, damage, account or praise.",
        "Which kind of ticket is this?",
        "What is this ticket about?",
        "Classify the message.",
        "Classify this ticket.",
        "Sort this message.",
        "Name the kind of this message.",
        "Is this billing, delivery, damage, account or praise?",
        "Choose billing, delivery, damage, account or praise.",
        "Which class fits this ticket?",
        "Please sort this into a class.",
        "Tell me the class of the message.",
    ),
    held_out=(
        "Which kind of message is this?",
        "Please classify this message.",
        "Sort this ticket into a class.",
        "What class of ticket is this?",
        "Tell me the kind of this ticket.",
    ),
)


def body(rng: Random, split: Split) -> tuple[str, str]:
    """A message (an order and a complaint) and its kind."""
    kind = rng.choice(list(COMPLAINTS))
    order = ORDERS.pick(rng, split).format(
        p=values.person(rng, split), n=values.amount(rng), g=values.goods(rng, split), c=values.place(rng, split)
    )
    complaint = COMPLAINTS[kind].pick(rng, split)
    return (f"{order} {complaint}" if rng.random() < 0.8 else complaint), kind


def example(rng: Random, split: Split) -> Example:
    """One message with its kind."""
    text, kind = body(rng, split)
    return Example(
        NAME, assemble(rng, split, body=text, request=REQUESTS.pick(rng, split)), f"The ticket is about {kind}."
    )
