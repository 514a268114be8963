"""Words and topics the model is honest about not knowing. Owns the lists only."""

from models.demo.families.values import words
from models.demo.families.wording import Wordings


def _items(text: str) -> tuple[str, ...]:
    """The items of a text, separated by bars and line ends."""
    return tuple(item.strip() for item in text.replace("\n", "|").split("|") if item.strip())


WORDS = words(
    """
    time year people way day man thing woman life child world school state student group country problem hand place
    case week company system program question government night point water room mother area money story fact month
    lot right study book eye job word business issue side kind head house service friend father power hour game line
    end member law car city community name president team minute idea body information back parent face others level
    office door health person art war history party result change morning reason research girl guy moment air
    teacher force education foot boy age policy music process future mind data tree bird fish dog cat horse sun moon
    star rain snow wind fire earth stone river lake sea ocean mountain island forest field flower grass leaf animal
    plant food bread milk cheese apple orange lemon banana rice meat egg salt sugar coffee tea wine beer kitchen
    table window wall floor roof bridge road street train plane ship boat wheel engine machine computer phone letter
    number page picture film song dance theater museum church king queen prince soldier doctor nurse farmer baker
    writer painter singer player lawyer judge police science physics chemistry biology mathematics geometry algebra
    language grammar english french german spanish latin peace love hope fear anger joy dream sleep memory thought
    truth freedom justice nature culture religion philosophy be have do say get make go know take see come think
    look want give use find tell ask work seem feel try leave call keep let begin help talk turn start show hear
    play run move live believe hold bring happen write provide sit stand lose pay meet include continue set learn
    lead understand watch follow stop create speak read allow add spend grow open walk win offer remember consider
    appear buy wait serve die send expect build stay fall cut reach kill remain suggest raise pass sell require
    report decide pull good new first last long great little own other old big high different small large next early
    young important few public bad same able best better low late general full far real hard easy strong weak clear
    dark bright warm cold hot dry wet clean dirty rich poor quick slow soft loud quiet not also very often however
    too usually really already always never sometimes together today tomorrow yesterday before after above below
    between under over again once there here when where why how all any both each few more most some such only then
    than because while although since until through during against about into with without
    """
)

TOPICS = Wordings(
    train=_items(
        """
        France|Germany|Italy|Japan|China|India|Brazil|Canada|Egypt|Kenya|Norway|Sweden|Poland|Greece|London
        Paris|Berlin|Rome|Tokyo|New York|the moon|the sun|Mars|the universe|black holes|gravity|light
        electricity|the internet|computers|the telephone|the steam engine|the wheel|the printing press
        photography|football|chess|tennis|swimming|cooking|bread|chocolate|coffee|pizza|rice|cheese|apples
        bananas|tomatoes|wine|the opera|jazz|the piano|the violin|Shakespeare|Mozart|Einstein|Newton|Darwin
        Napoleon|Caesar|Columbus|Picasso|the Romans|the Vikings|the pyramids|the French Revolution
        the Second World War|the Middle Ages|democracy|philosophy|religion|economics|inflation|taxes
        the stock market|bitcoin|climate change|the weather|rain|volcanoes|earthquakes|the ocean|whales
        dolphins|elephants|lions|tigers|dogs|cats|birds|dinosaurs|ants|bees|trees|roses|DNA|cells|the brain
        the heart|vitamins|medicine|vaccines|sleep|dreams|yoga|love|happiness|time|money|mathematics|algebra
        prime numbers|Python|a sorting algorithm|machine learning|neural networks|databases|robots|cars
        trains|airplanes|bicycles|rockets|bridges|castles|museums|a dragon|a wizard|a lonely robot
        my holiday|my birthday|my job|a good film|the news|the president|the queen
        """
    ),
    held_out=_items(
        """
        Portugal|Vietnam|Iceland|Madrid|Chicago|Jupiter|comets|magnetism|the radio|the compass|basketball
        poker|skiing|noodles|yogurt|carrots|Beethoven|Galileo|Cleopatra|Van Gogh|the Aztecs|the Cold War
        monarchy|psychology|insurance|glaciers|tornadoes|sharks|penguins|giraffes|butterflies|tulips|enzymes
        the liver|antibiotics|meditation|courage|geometry|fractions|JavaScript|binary search|compilers
        satellites|submarines|windmills|a pirate|a haunted castle
        """
    ),
)
