//! What is said in pieces: numbers, digits, times, dates and counts of messages, as the names of
//! prompts in the order in which they are played.
//!
//! All names are in [`super::prompts`]. Spanish follows the Real Academia's rules: `uno` loses its
//! end before a masculine noun and before `mil` (un, veintiún), hundreds take the gender of what is
//! counted (doscientas), a hundred alone is `cien` and `ciento` before what follows. English says
//! "one hundred five" without "and", of the pieces that Asterisk's English sounds have.
//!
//! Not done here: time zones (dates and hours come as the listener's clock shows them), playing.

#[cfg(test)]
mod tests;

use super::prompts::Language;
use jiff::civil::Date;
use smallvec::SmallVec;

/// The greatest number that is said as one; greater ones are said digit by digit.
pub const NUMBER_MAX: u32 = 999_999;
/// Most digits that [`say_digits`] says; what comes after them is left out.
pub const DIGITS_MAX: usize = 32;

/// Names of prompts, in the order of playing.
pub type Words = SmallVec<[&'static str; 12]>;

/// What a number stands before, which decides its ending in Spanish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gender {
    /// Nothing: counted or named (uno, veintiuno).
    Alone,
    /// A masculine noun (un, veintiún mensajes).
    Masculine,
    /// A feminine noun (una, veintiuna llamadas).
    Feminine,
}

const UNITS: [&str; 30] = [
    "digits/0",
    "digits/1",
    "digits/2",
    "digits/3",
    "digits/4",
    "digits/5",
    "digits/6",
    "digits/7",
    "digits/8",
    "digits/9",
    "digits/10",
    "digits/11",
    "digits/12",
    "digits/13",
    "digits/14",
    "digits/15",
    "digits/16",
    "digits/17",
    "digits/18",
    "digits/19",
    "digits/20",
    "digits/21",
    "digits/22",
    "digits/23",
    "digits/24",
    "digits/25",
    "digits/26",
    "digits/27",
    "digits/28",
    "digits/29",
];

/// From twenty on.
const TENS: [&str; 8] = [
    "digits/20",
    "digits/30",
    "digits/40",
    "digits/50",
    "digits/60",
    "digits/70",
    "digits/80",
    "digits/90",
];

/// From two hundred on: masculine, feminine.
const HUNDREDS: [[&str; 2]; 8] = [
    ["digits/200", "digits/200F"],
    ["digits/300", "digits/300F"],
    ["digits/400", "digits/400F"],
    ["digits/500", "digits/500F"],
    ["digits/600", "digits/600F"],
    ["digits/700", "digits/700F"],
    ["digits/800", "digits/800F"],
    ["digits/900", "digits/900F"],
];

/// From Sunday on.
const DAYS: [&str; 7] = [
    "digits/day-0",
    "digits/day-1",
    "digits/day-2",
    "digits/day-3",
    "digits/day-4",
    "digits/day-5",
    "digits/day-6",
];

/// From January on.
const MONTHS: [&str; 12] = [
    "digits/mon-0",
    "digits/mon-1",
    "digits/mon-2",
    "digits/mon-3",
    "digits/mon-4",
    "digits/mon-5",
    "digits/mon-6",
    "digits/mon-7",
    "digits/mon-8",
    "digits/mon-9",
    "digits/mon-10",
    "digits/mon-11",
];

/// The piece at a place that the caller's arithmetic keeps inside the table.
fn piece<T: Copy>(table: &[T], at: u32) -> T {
    table[at as usize]
}

/// A number up to [`NUMBER_MAX`].
pub fn say_number(language: Language, number: u32, gender: Gender) -> Words {
    let mut words = Words::new();
    if number > NUMBER_MAX {
        return say_digits(&number.to_string());
    }
    match language {
        Language::Es => spanish(&mut words, number, gender),
        Language::En => english(&mut words, number),
    }
    words
}

fn english(words: &mut Words, number: u32) {
    let (thousands, rest) = (number / 1000, number % 1000);
    if thousands > 0 {
        english_below_thousand(words, thousands);
        words.push("digits/thousand");
    }
    if rest > 0 || thousands == 0 {
        english_below_thousand(words, rest);
    }
}

fn english_below_thousand(words: &mut Words, number: u32) {
    let (hundreds, rest) = (number / 100, number % 100);
    if hundreds > 0 {
        words.push(piece(&UNITS, hundreds));
        words.push("digits/hundred");
        if rest == 0 {
            return;
        }
    }
    if rest <= 20 {
        words.push(piece(&UNITS, rest));
        return;
    }
    words.push(piece(&TENS, rest / 10 - 2));
    let unit = rest % 10;
    if unit > 0 {
        words.push(piece(&UNITS, unit));
    }
}

fn spanish(words: &mut Words, number: u32, gender: Gender) {
    let (thousands, rest) = (number / 1000, number % 1000);
    if thousands > 0 {
        // Before mil the one is short whatever is counted (veintiún mil personas), the hundreds
        // agree with it (doscientas mil personas), and one thousand is just mil.
        if thousands > 1 {
            spanish_hundreds(words, thousands, gender);
            spanish_below_hundred(words, thousands % 100, Gender::Masculine);
        }
        words.push("digits/thousand");
    }
    if number == 0 {
        words.push("digits/0");
    }
    spanish_hundreds(words, rest, gender);
    spanish_below_hundred(words, rest % 100, gender);
}

/// The hundreds of a number below a thousand; nothing where it has none.
fn spanish_hundreds(words: &mut Words, number: u32, gender: Gender) {
    match (number / 100, number % 100) {
        (0, _) => {}
        (1, 0) => words.push("digits/hundred"),
        (1, _) => words.push("digits/100-and"),
        (hundreds, _) => {
            let [masculine, feminine] = piece(&HUNDREDS, hundreds - 2);
            words.push(match gender {
                Gender::Alone | Gender::Masculine => masculine,
                Gender::Feminine => feminine,
            });
        }
    }
}

/// A number below a hundred; nothing for zero.
fn spanish_below_hundred(words: &mut Words, number: u32, gender: Gender) {
    let number = if number < 30 {
        number
    } else {
        words.push(piece(&TENS, number / 10 - 2));
        let unit = number % 10;
        if unit > 0 {
            words.push("digits/and");
        }
        unit
    };
    match (number, gender) {
        (0, _) => {}
        (1, Gender::Masculine) => words.push("digits/1M"),
        (1, Gender::Feminine) => words.push("digits/1F"),
        (21, Gender::Masculine) => words.push("digits/21M"),
        (21, Gender::Feminine) => words.push("digits/21F"),
        (number, _) => words.push(piece(&UNITS, number)),
    }
}

/// Each digit, `*` and `#` of a dialled number by itself; what is none of these (`+`, a letter) is
/// left out, and so is all after [`DIGITS_MAX`]. The names are the same in each language.
pub fn say_digits(digits: &str) -> Words {
    digits
        .chars()
        .filter_map(|digit| match digit {
            '*' => Some("digits/star"),
            '#' => Some("digits/pound"),
            _ => digit.to_digit(10).map(|value| piece(&UNITS, value)),
        })
        .take(DIGITS_MAX)
        .collect()
}

/// "at nine oh five a.m.", "a las nueve y cinco de la mañana". Hours run from 0 to 23, minutes from
/// 0 to 59; greater ones are taken around the clock.
pub fn say_time_of_day(language: Language, hour: u8, minute: u8) -> Words {
    let (hour, minute) = (u32::from(hour % 24), u32::from(minute % 60));
    let on_dial = (hour + 11) % 12 + 1;
    let mut words = Words::new();
    match language {
        Language::Es => {
            if on_dial == 1 {
                words.push("digits/at-one");
            } else {
                words.extend(["digits/at", piece(&UNITS, on_dial)]);
            }
            if minute > 0 {
                words.push("digits/and");
                spanish_below_hundred(&mut words, minute, Gender::Alone);
            }
            words.push(match hour {
                1..=5 => "digits/small-hours",
                6..=11 => "digits/a-m",
                12 => "digits/noon",
                13..=20 => "digits/p-m",
                _ => "digits/at-night",
            });
        }
        Language::En => {
            words.extend(["digits/at", piece(&UNITS, on_dial)]);
            match minute {
                0 => words.push("digits/oclock"),
                1..=9 => words.extend(["digits/oh", piece(&UNITS, minute)]),
                _ => english_below_thousand(&mut words, minute),
            }
            words.push(if hour < 12 {
                "digits/a-m"
            } else {
                "digits/p-m"
            });
        }
    }
    words
}

/// A day as one tells it on the day `today`: today, yesterday, tomorrow, the day of the week for
/// the six days before; else day and month, and the year where it is another one. Spanish has the
/// article before the last two ("el martes", "el tres de marzo"), as adverbs of time.
pub fn say_date(language: Language, date: Date, today: Date) -> Words {
    let mut words = Words::new();
    // Days between them; at most a few million, as years end at 9999.
    let ago = (today - date).get_days();
    match ago {
        0 => words.push("digits/today"),
        1 => words.push("digits/yesterday"),
        -1 => words.push("digits/tomorrow"),
        2..=6 => {
            words.extend(article(language));
            let day = date.weekday().to_sunday_zero_offset().unsigned_abs();
            words.push(piece(&DAYS, day.into()));
        }
        _ => {
            let day = u32::from(date.day().unsigned_abs());
            let month = piece(&MONTHS, u32::from(date.month().unsigned_abs()) - 1);
            let year = (date.year() != today.year()).then(|| u32::from(date.year().unsigned_abs()));
            words.extend(article(language));
            match language {
                Language::Es => spanish_date(&mut words, day, month, year),
                Language::En => english_date(&mut words, day, month, year),
            }
        }
    }
    words
}

/// What stands before days that have a name or a number.
fn article(language: Language) -> Option<&'static str> {
    match language {
        Language::Es => Some("digits/the"),
        Language::En => None,
    }
}

/// "tres de marzo de dos mil veintiséis".
fn spanish_date(words: &mut Words, day: u32, month: &'static str, year: Option<u32>) {
    spanish(words, day, Gender::Alone);
    words.extend(["digits/of", month]);
    if let Some(year) = year {
        words.push("digits/of");
        spanish(words, year, Gender::Alone);
    }
}

/// "March three, twenty twenty six".
fn english_date(words: &mut Words, day: u32, month: &'static str, year: Option<u32>) {
    words.push(month);
    english(words, day);
    let Some(year) = year else { return };
    let (century, rest) = (year / 100, year % 100);
    if century == 0 || rest < 10 {
        // Two thousand five; "twenty five" would be another year.
        english(words, year);
    } else {
        english(words, century);
        english(words, rest);
    }
}

/// "You have two new messages and one saved message"; where there are none of a kind, only the
/// other is told, and where there are none at all, that.
pub fn say_messages(language: Language, new: u32, saved: u32) -> Words {
    if new == 0 && saved == 0 {
        return Words::from_slice(&["vm-youhaveno", "vm-messages"]);
    }
    let mut words = Words::from_slice(&["vm-youhave"]);
    for (count, one, many) in [(new, "vm-INBOXs", "vm-INBOX"), (saved, "vm-Olds", "vm-Old")] {
        if count == 0 {
            continue;
        }
        if words.len() > 1 {
            words.push("vm-and");
        }
        words.extend(say_number(language, count, Gender::Masculine));
        let (noun, kind) = if count == 1 {
            ("vm-message", one)
        } else {
            ("vm-messages", many)
        };
        match language {
            Language::Es => words.extend([noun, kind]),
            // English has one form, and it comes first.
            Language::En => words.extend([many, noun]),
        }
    }
    words
}
