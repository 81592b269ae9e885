//! ICE between us and a party, where the party speaks it or the client asks for it (`ICE=force`):
//! who gets candidates of ours, and which credentials hold. We are a lite agent (RFC 8445 §2.5):
//! each port of ours is a host candidate, and the party does all the rest.
//!
//! ```text
//!   flag       in an offer                           in an answer
//!   force      candidates of ours                    candidates of ours, if the reader offered ICE
//!   default    if the reader speaks ICE; of a reader likewise
//!              who has not spoken, if the author does
//!   remove     none                                  none
//! ```
//! By default a lite agent goes on without ICE: it makes no checks either, and some send nothing
//! before there was one. The author's candidates are taken out in any case. With `reject-ICE` in an
//! offer its author gets none in the answer. A party that answers without ICE speaks none.
//! Credentials hold as long as the dialogue, unless the party begins anew (§9) or somebody else is
//! called instead.

use super::call::Dialogue;
use super::describe;
use super::flags::{IceWish, Options};
use crate::base::Rng;
use crate::relay::Side;
use crate::wire::ice::Credentials;
use crate::wire::sdp::Sdp;

/// ICE with one party.
#[derive(Clone, Debug)]
pub struct Ice {
    /// What its checks must prove to know.
    pub ours: Credentials,
    /// Its `ice-ufrag`, by which it tells that it begins anew; empty before it has said.
    theirs: Box<[u8]>,
}

impl Ice {
    fn begin(theirs: &[u8], rng: &mut Rng) -> Self {
        Self {
            ours: Credentials::generate(rng),
            theirs: theirs.into(),
        }
    }
}

/// Takes in what `author` said of ICE, and decides whether its reader shall see candidates, by what
/// the client asks for; `answers`: the description answers the reader's.
pub fn agree(
    dialogue: &mut Dialogue,
    author: Side,
    sdp: &Sdp<'_>,
    (options, answers): (&Options, bool),
    rng: &mut Rng,
) {
    let speaks = describe::fragment(sdp).is_some();
    let party = dialogue.party_mut(author);
    party.ice = match (party.ice.take(), describe::fragment(sdp)) {
        (Some(ice), Some(theirs)) if ice.theirs.is_empty() || *ice.theirs == *theirs => Some(Ice {
            theirs: theirs.into(),
            ..ice
        }),
        (Some(_), Some(theirs)) => Some(Ice::begin(theirs, rng)),
        (_, None) | (None, _) => None,
    };
    if !answers {
        party.without_ice = options.ice_rejected;
    }
    let reader = dialogue.party_mut(author.other());
    let said = reader.sdp.clone();
    let theirs = Sdp::parse(&said).ok();
    let lite = theirs.as_ref().is_some_and(describe::is_lite);
    let theirs = theirs.as_ref().and_then(describe::fragment);
    let known = reader.ice.take();
    let wanted = match options.ice {
        _ if answers && reader.without_ice => false,
        IceWish::Remove => false,
        IceWish::Force => true,
        // Each would wait for the other's checks.
        IceWish::Pass if lite => false,
        IceWish::Pass if answers => true,
        IceWish::Pass if said.is_empty() => speaks,
        IceWish::Pass => theirs.is_some(),
    };
    reader.ice = match (wanted, theirs) {
        (true, None) if answers => None,
        (true, theirs) => {
            Some(known.unwrap_or_else(|| Ice::begin(theirs.unwrap_or_default(), rng)))
        }
        (false, _) => None,
    };
}
