//! Tables of what is said, read back as text through the catalogue.

use super::super::prompts::{find, names};
use super::Gender::{Alone, Feminine, Masculine};
use super::Language::{En, Es};
use super::*;
use std::collections::BTreeMap;

/// Names to the words they speak, of one language.
struct Reader(BTreeMap<String, String>);

impl Reader {
    fn new(language: Language) -> Self {
        let code = match language {
            Es => "es",
            En => "en",
        };
        let catalogue: toml::Table = include_str!("../prompts/catalogue.toml").parse().unwrap();
        let mut texts = BTreeMap::new();
        for section in catalogue.values() {
            for (name, by_language) in section.as_table().unwrap() {
                let text = by_language[code].as_str().unwrap();
                texts.insert(name.clone(), text.to_owned());
            }
        }
        Self(texts)
    }

    fn read(&self, words: &Words) -> String {
        let texts: Vec<_> = words.iter().map(|word| self.0[*word].as_str()).collect();
        texts.join(" ")
    }
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

#[test]
fn spanish_numbers() {
    let es = Reader::new(Es);
    for (number, gender, text) in [
        (0, Alone, "cero"),
        (0, Masculine, "cero"),
        (1, Alone, "uno"),
        (1, Masculine, "un"),
        (1, Feminine, "una"),
        (16, Alone, "dieciséis"),
        (20, Feminine, "veinte"),
        (21, Alone, "veintiuno"),
        (21, Masculine, "veintiún"),
        (21, Feminine, "veintiuna"),
        (22, Masculine, "veintidós"),
        (29, Alone, "veintinueve"),
        (30, Alone, "treinta"),
        (31, Alone, "treinta y uno"),
        (31, Masculine, "treinta y un"),
        (31, Feminine, "treinta y una"),
        (99, Alone, "noventa y nueve"),
        (100, Feminine, "cien"),
        (101, Masculine, "ciento un"),
        (110, Alone, "ciento diez"),
        (121, Masculine, "ciento veintiún"),
        (199, Alone, "ciento noventa y nueve"),
        (200, Feminine, "doscientas"),
        (500, Masculine, "quinientos"),
        (555, Feminine, "quinientas cincuenta y cinco"),
        (999, Alone, "novecientos noventa y nueve"),
        (1_000, Alone, "mil"),
        (1_001, Feminine, "mil una"),
        (1_100, Alone, "mil cien"),
        (2_026, Alone, "dos mil veintiséis"),
        (21_000, Alone, "veintiún mil"),
        (21_021, Feminine, "veintiún mil veintiuna"),
        (31_000, Feminine, "treinta y un mil"),
        (100_000, Alone, "cien mil"),
        (101_000, Masculine, "ciento un mil"),
        (200_000, Feminine, "doscientas mil"),
        (700_300, Masculine, "setecientos mil trescientos"),
        (
            999_999,
            Feminine,
            "novecientas noventa y nueve mil novecientas noventa y nueve",
        ),
        (1_000_000, Alone, "uno cero cero cero cero cero cero"),
    ] {
        assert_eq!(es.read(&say_number(Es, number, gender)), text, "{number}");
    }
}

#[test]
fn english_numbers() {
    let en = Reader::new(En);
    for (number, text) in [
        (0, "zero"),
        (1, "one"),
        (13, "thirteen"),
        (20, "twenty"),
        (21, "twenty one"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (105, "one hundred five"),
        (120, "one hundred twenty"),
        (999, "nine hundred ninety nine"),
        (1_000, "one thousand"),
        (1_001, "one thousand one"),
        (12_345, "twelve thousand three hundred forty five"),
        (100_000, "one hundred thousand"),
        (
            999_999,
            "nine hundred ninety nine thousand nine hundred ninety nine",
        ),
        (1_000_000, "one zero zero zero zero zero zero"),
        (u32::MAX, "four two nine four nine six seven two nine five"),
    ] {
        for gender in [Alone, Masculine, Feminine] {
            assert_eq!(en.read(&say_number(En, number, gender)), text, "{number}");
        }
    }
}

#[test]
fn digits_one_by_one() {
    let (es, en) = (Reader::new(Es), Reader::new(En));
    assert_eq!(
        es.read(&say_digits("*130#")),
        "asterisco uno tres cero almohadilla"
    );
    assert_eq!(
        en.read(&say_digits("+34 915-x")),
        "three four nine one five"
    );
    assert!(say_digits("anonymous").is_empty());
    assert!(say_digits("٣é").is_empty(), "ASCII digits alone");
    let long = "7".repeat(DIGITS_MAX * 2);
    assert_eq!(say_digits(&long).len(), DIGITS_MAX);
}

#[test]
fn times_of_day() {
    let (es, en) = (Reader::new(Es), Reader::new(En));
    for (hour, minute, spanish, english) in [
        (0, 0, "a las doce de la noche", "at twelve o'clock a.m."),
        (1, 1, "a la una y uno de la madrugada", "at one oh one a.m."),
        (
            5,
            59,
            "a las cinco y cincuenta y nueve de la madrugada",
            "at five fifty nine a.m.",
        ),
        (
            9,
            5,
            "a las nueve y cinco de la mañana",
            "at nine oh five a.m.",
        ),
        (
            11,
            20,
            "a las once y veinte de la mañana",
            "at eleven twenty a.m.",
        ),
        (12, 0, "a las doce del mediodía", "at twelve o'clock p.m."),
        (
            13,
            30,
            "a la una y treinta de la tarde",
            "at one thirty p.m.",
        ),
        (
            20,
            21,
            "a las ocho y veintiuno de la tarde",
            "at eight twenty one p.m.",
        ),
        (
            23,
            10,
            "a las once y diez de la noche",
            "at eleven ten p.m.",
        ),
    ] {
        assert_eq!(es.read(&say_time_of_day(Es, hour, minute)), spanish);
        assert_eq!(en.read(&say_time_of_day(En, hour, minute)), english);
    }
    assert_eq!(say_time_of_day(En, 25, 61), say_time_of_day(En, 1, 1));
}

#[test]
fn dates_as_told_today() {
    let (es, en) = (Reader::new(Es), Reader::new(En));
    // A Thursday.
    let today = date("2026-11-26");
    for (day, spanish, english) in [
        ("2026-11-26", "hoy", "today"),
        ("2026-11-25", "ayer", "yesterday"),
        ("2026-11-27", "mañana", "tomorrow"),
        ("2026-11-24", "el martes", "Tuesday"),
        ("2026-11-22", "el domingo", "Sunday"),
        ("2026-11-20", "el viernes", "Friday"),
        (
            "2026-11-19",
            "el diecinueve de noviembre",
            "November nineteen",
        ),
        (
            "2026-11-28",
            "el veintiocho de noviembre",
            "November twenty eight",
        ),
        (
            "2026-01-31",
            "el treinta y uno de enero",
            "January thirty one",
        ),
        (
            "2025-11-26",
            "el veintiséis de noviembre de dos mil veinticinco",
            "November twenty six twenty twenty five",
        ),
        (
            "2005-12-01",
            "el uno de diciembre de dos mil cinco",
            "December one two thousand five",
        ),
        (
            "1999-02-02",
            "el dos de febrero de mil novecientos noventa y nueve",
            "February two nineteen ninety nine",
        ),
        (
            "2110-07-14",
            "el catorce de julio de dos mil ciento diez",
            "July fourteen twenty one ten",
        ),
    ] {
        assert_eq!(es.read(&say_date(Es, date(day), today)), spanish);
        assert_eq!(en.read(&say_date(En, date(day), today)), english);
    }
    // Over the turn of a year the days before are still told by name.
    let new_year = date("2027-01-01");
    assert_eq!(
        en.read(&say_date(En, date("2026-12-31"), new_year)),
        "yesterday"
    );
    assert_eq!(
        en.read(&say_date(En, date("2026-12-28"), new_year)),
        "Monday"
    );
}

#[test]
fn counts_of_messages() {
    let (es, en) = (Reader::new(Es), Reader::new(En));
    for (new, saved, spanish, english) in [
        (0, 0, "No tiene mensajes", "You have no messages"),
        (1, 0, "Tiene un mensaje nuevo", "You have one new message"),
        (
            0,
            1,
            "Tiene un mensaje guardado",
            "You have one saved message",
        ),
        (
            2,
            1,
            "Tiene dos mensajes nuevos y un mensaje guardado",
            "You have two new messages and one saved message",
        ),
        (
            21,
            101,
            "Tiene veintiún mensajes nuevos y ciento un mensajes guardados",
            "You have twenty one new messages and one hundred one saved messages",
        ),
    ] {
        assert_eq!(es.read(&say_messages(Es, new, saved)), spanish);
        assert_eq!(en.read(&say_messages(En, new, saved)), english);
    }
}

/// Walks all numbers of each form up to 3,000 and every thousand above, each minute of a day, each
/// day from 1900 to 2300 and each pair of small counts: what is said exists.
#[test]
fn all_that_is_said_can_be_heard() {
    let known: std::collections::BTreeSet<_> = names().collect();
    let mut used = std::collections::BTreeSet::new();
    let numbers = (0..3_000).chain((3_000..=NUMBER_MAX).step_by(1_000));
    let numbers: Vec<_> = numbers.chain([NUMBER_MAX, u32::MAX]).collect();
    for language in [Es, En] {
        let mut hear = |words: Words| {
            assert!(!words.is_empty());
            used.extend(words);
        };
        for gender in [Alone, Masculine, Feminine] {
            for number in &numbers {
                hear(say_number(language, *number, gender));
            }
        }
        for minute in 0..24 * 60_u16 {
            hear(say_time_of_day(
                language,
                (minute / 60) as u8,
                (minute % 60) as u8,
            ));
        }
        let (mut day, end) = (date("1900-01-01"), date("2300-01-01"));
        while day < end {
            hear(say_date(language, day, date("2026-11-26")));
            hear(say_date(
                language,
                day,
                day.saturating_add(jiff::Span::new().days(3)),
            ));
            day = day.tomorrow().unwrap();
        }
        for (new, saved) in (0..40).flat_map(|new| (0..40).map(move |saved| (new, saved))) {
            hear(say_messages(language, new, saved));
        }
        hear(say_digits("0123456789*#"));
    }
    for word in &used {
        assert!(
            find(Es, word).is_some() && find(En, word).is_some(),
            "{word}"
        );
    }
    // And no piece lies there unsaid.
    let pieces = known.iter().filter(|name| name.starts_with("digits/"));
    let unsaid: Vec<_> = pieces.filter(|name| !used.contains(*name)).collect();
    assert!(unsaid.is_empty(), "{unsaid:?}");
}

/// Two numbers that differ are told apart by ear: the words of each form are its own.
#[test]
fn no_two_numbers_sound_alike() {
    for language in [Es, En] {
        let mut heard = BTreeMap::new();
        for number in (0..12_000).chain(99_000..102_500) {
            let words = say_number(language, number, Alone);
            let other = heard.insert(words, number);
            assert_eq!(other, None, "{number}");
        }
    }
}
