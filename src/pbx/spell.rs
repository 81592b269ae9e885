//! Names spelled on a telephone's keys (ITU-T E.161 §3.1: 2 is ABC, 9 is WXYZ).

use crate::store::{Directory, User};
use std::sync::Arc;

/// Those who are read out; of more the first.
const FOUND_MAX: usize = 20;
/// Users among whom a name is looked for: with more, a shard would stand still for too long.
const USERS_MAX: usize = 50_000;

/// Users of a domain one of whose names begins with these keys, by name. Nobody is found who has no
/// name, or whose extension is no number: there would be nothing to say.
pub(super) fn find(directory: &Directory, domain: &str, keys: &str) -> Vec<Arc<User>> {
    let users = directory.len();
    if users > USERS_MAX {
        tracing::warn!(users, "too many users for a directory by name");
        return Vec::new();
    }
    let mut found = directory.select(|user| {
        *user.domain == *domain
            && !user.disabled
            && !user.username.is_empty()
            && user.username.bytes().all(|b| b.is_ascii_digit())
            && is_spelled(&user.display_name, keys)
    });
    found.sort_by(|a, b| a.display_name.cmp(&b.display_name));
    found.truncate(FOUND_MAX);
    found
}

/// Whether a word of the name begins with the keys.
fn is_spelled(name: &str, keys: &str) -> bool {
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    words.any(|word| {
        let mut spelled = word.chars().filter_map(key);
        keys.chars().all(|key| spelled.next() == Some(key))
    })
}

/// The key of a letter, accents left out.
fn key(letter: char) -> Option<char> {
    let letter = letter.to_lowercase().next().unwrap_or(letter);
    Some(match letter {
        'a'..='c' | 'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' | 'ç' => '2',
        'd'..='f' | 'é' | 'è' | 'ê' | 'ë' => '3',
        'g'..='i' | 'í' | 'ì' | 'î' | 'ï' => '4',
        'j'..='l' => '5',
        'm'..='o' | 'ñ' | 'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' => '6',
        'p'..='s' => '7',
        't'..='v' | 'ú' | 'ù' | 'û' | 'ü' => '8',
        'w'..='z' | 'ý' => '9',
        '0'..='9' => letter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_by_any_word_without_accents() {
        for (name, keys, wanted) in [
            ("Ana Núñez", "262", true),
            ("Ana Núñez", "686", true),
            ("Ana Núñez", "68", true),
            ("Ana Núñez", "627", false),
            ("José-María Ávila", "627", true),
            ("José-María Ávila", "284", true),
            ("Bo", "26", true),
            ("Bo", "262", false),
            ("", "2", false),
        ] {
            assert_eq!(is_spelled(name, keys), wanted, "{name} {keys}");
        }
    }
}
