//! A slot's number comes back only after its release.

use crate::slots::*;

#[test]
fn released_slots_are_used_again_and_others_stay() {
    let mut slots = Slots::new();
    let (first, second) = (slots.insert("a"), slots.insert("b"));
    assert_eq!(slots.release(first), "a");
    assert_eq!(slots.insert("c"), first);
    assert_eq!((*slots.at(first), *slots.at(second)), ("c", "b"));
}
