// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The word of a slot, packed so that one compare-and-swap moves all of it.

/// What a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Whoever comes first may have it.
    Free,
    /// A participant's: being filled, or being read.
    Held,
    /// It waits for a consumer.
    Filled,
    /// No slot of the pool.
    Absent,
}

/// A slot's word: two bits of state, four of participant, two of queue, 24 of generation, 32 of ticket.
/// Zero is a free slot that nobody ever had. Every value is a word; whether it is true, claims tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotWord(pub u64);

const PARTICIPANT_SHIFT: u32 = 2;
const PARTICIPANT_MASK: u64 = 0xf;
const QUEUE_SHIFT: u32 = 6;
const QUEUE_MASK: u64 = 3;
const GENERATION_SHIFT: u32 = 8;
const GENERATION_MASK: u64 = 0xff_ffff;
const TICKET_SHIFT: u32 = 32;

impl SlotWord {
    /// What it says the slot is.
    pub fn state(self) -> SlotState {
        match self.0 & 3 {
            0 => SlotState::Free,
            1 => SlotState::Held,
            2 => SlotState::Filled,
            _ => SlotState::Absent,
        }
    }

    /// Whose it is, 0 to 15, whether there is such a participant or not.
    pub fn participant(self) -> u32 {
        ((self.0 >> PARTICIPANT_SHIFT) & PARTICIPANT_MASK) as u32
    }

    /// In which queue it waits, 0 to 3, whether there is such a queue or not.
    pub fn queue(self) -> u32 {
        ((self.0 >> QUEUE_SHIFT) & QUEUE_MASK) as u32
    }

    /// When it was submitted, as a ticket of the dispenser.
    pub fn ticket(self) -> u32 {
        (self.0 >> TICKET_SHIFT) as u32
    }

    /// Whether it was submitted before another. Tickets wrap; half of them are before any one.
    pub fn is_older_than(self, other: SlotWord) -> bool {
        (self.ticket().wrapping_sub(other.ticket()) as i32) < 0
    }

    /// What tells this turn of the slot from earlier ones, and its queue from others: queue, generation
    /// and ticket.
    pub fn key(self) -> u64 {
        self.0 >> QUEUE_SHIFT
    }

    /// The word of the slot when it is a participant's frame in a queue, behind all with older tickets.
    pub fn submitted(self, participant: u32, queue: u32, ticket: u32) -> SlotWord {
        let SlotWord(word) = self.next(SlotState::Filled, participant);
        let queue = (u64::from(queue) & QUEUE_MASK) << QUEUE_SHIFT;
        let low = word & u64::from(u32::MAX);
        SlotWord(low | queue | u64::from(ticket) << TICKET_SHIFT)
    }

    /// The word of the slot's next turn.
    pub fn next(self, state: SlotState, participant: u32) -> SlotWord {
        let state = match state {
            SlotState::Free => 0,
            SlotState::Held => 1,
            SlotState::Filled => 2,
            SlotState::Absent => 3,
        };
        let generation = (self.0 >> GENERATION_SHIFT).wrapping_add(1) & GENERATION_MASK;
        SlotWord(
            state
                | (u64::from(participant) & PARTICIPANT_MASK) << PARTICIPANT_SHIFT
                | generation << GENERATION_SHIFT
                | u64::from(self.ticket()) << TICKET_SHIFT,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_what_was_put_into_it() {
        let filled = SlotWord(0).submitted(15, 2, u32::MAX);
        assert_eq!(filled.state(), SlotState::Filled);
        assert_eq!((filled.participant(), filled.queue()), (15, 2));
        assert_eq!(filled.ticket(), u32::MAX);
        let held = filled.next(SlotState::Held, 3);
        assert_eq!((held.state(), held.participant()), (SlotState::Held, 3));
        assert_eq!(held.ticket(), u32::MAX);
        assert_ne!(held.key(), filled.key());
    }

    #[test]
    fn tickets_are_in_order_when_they_wrap() {
        let submitted = |ticket| SlotWord(0).submitted(0, 0, ticket);
        for (first, second) in [(0, 1), (7, 9), (u32::MAX, 0), (u32::MAX - 3, 4)] {
            assert!(submitted(first).is_older_than(submitted(second)), "{first} {second}");
            assert!(!submitted(second).is_older_than(submitted(first)), "{first} {second}");
        }
        assert!(!submitted(5).is_older_than(submitted(5)));
    }

    #[test]
    fn the_generation_wraps_and_leaves_the_rest_alone() {
        let last = SlotWord(GENERATION_MASK << GENERATION_SHIFT | 7 << TICKET_SHIFT);
        let next = last.next(SlotState::Absent, 1);
        assert_eq!(next.key(), 7 << (TICKET_SHIFT - QUEUE_SHIFT));
        assert_eq!((next.state(), next.participant()), (SlotState::Absent, 1));
    }
}
