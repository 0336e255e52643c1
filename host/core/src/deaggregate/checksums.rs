//! The MD5 of several messages at once.
//!
//! Each of MD5's 64 steps waits for the one before it, so that one message leaves most of a processor idle, and checking
//! it is half of what a container costs. Messages do not wait for each other: eight of them, a vector lane each, take
//! about as long as two.

use std::array;
use std::iter::Take;

use wide::u32x8;

use super::{CHECKSUM_BYTES, MAGIC};

/// Messages that are hashed together.
const LANES: usize = 8;

/// With fewer messages each is hashed by itself: all lanes together take as long as two messages.
const WORTHWHILE: usize = 3;

/// Bytes that a step of the algorithm takes in.
const BLOCK: usize = 64;

/// Bytes of the length that ends the last block.
const LENGTH: usize = 8;

/// RFC 1321: the integer part of 2³² × |sin(i + 1)|.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// The state of every lane.
#[derive(Clone, Copy)]
struct State {
    a: u32x8,
    b: u32x8,
    c: u32x8,
    d: u32x8,
}

impl State {
    fn new() -> Self {
        Self {
            a: u32x8::splat(0x6745_2301),
            b: u32x8::splat(0xefcd_ab89),
            c: u32x8::splat(0x98ba_dcfe),
            d: u32x8::splat(0x1032_5476),
        }
    }

    /// Takes a block of each lane in: word `i` of all of them is `words[i]`.
    fn compress(&mut self, words: &[u32x8; 16]) {
        let before = *self;
        self.round::<7, 12, 17, 22>(|b, c, d| d ^ (b & (c ^ d)), words, &SINES[..16], (1, 0));
        self.round::<5, 9, 14, 20>(|b, c, d| c ^ (d & (b ^ c)), words, &SINES[16..32], (5, 1));
        self.round::<4, 11, 16, 23>(|b, c, d| b ^ c ^ d, words, &SINES[32..48], (3, 5));
        self.round::<6, 10, 15, 21>(|b, c, d| c ^ (b | !d), words, &SINES[48..], (7, 0));
        self.a += before.a;
        self.b += before.b;
        self.c += before.c;
        self.d += before.d;
    }

    /// Sixteen steps. `A` to `D` say how far each rotates; the words are taken in the order `factor * step + first`.
    #[expect(
        clippy::inline_always,
        reason = "so that sixteen steps are one run of vector instructions"
    )]
    #[inline(always)]
    fn round<const A: u32, const B: u32, const C: u32, const D: u32>(
        &mut self,
        mix: impl Fn(u32x8, u32x8, u32x8) -> u32x8,
        words: &[u32x8; 16],
        sines: &[u32],
        (factor, first): (usize, usize),
    ) {
        let Self { a, b, c, d } = self;
        for (four, sines) in sines.as_chunks::<4>().0.iter().enumerate() {
            let word = |step: usize| words[(factor * (4 * four + step) + first) % 16];
            *a = step::<A>(*a + mix(*b, *c, *d) + word(0), sines[0]) + *b;
            *d = step::<B>(*d + mix(*a, *b, *c) + word(1), sines[1]) + *a;
            *c = step::<C>(*c + mix(*d, *a, *b) + word(2), sines[2]) + *d;
            *b = step::<D>(*b + mix(*c, *d, *a) + word(3), sines[3]) + *c;
        }
    }

    /// Gives the lanes back what they had, except those that are at work.
    fn keep(&mut self, before: &Self, is_at_work: [bool; LANES]) {
        let mask = u32x8::from(is_at_work.map(|is| if is { u32::MAX } else { 0 }));
        let pick = |now: u32x8, before: u32x8| (now & mask) | (before & !mask);
        self.a = pick(self.a, before.a);
        self.b = pick(self.b, before.b);
        self.c = pick(self.c, before.c);
        self.d = pick(self.d, before.d);
    }

    fn digests(self) -> [[u8; 16]; LANES] {
        let words = [self.a, self.b, self.c, self.d].map(u32x8::to_array);
        array::from_fn(|lane| {
            let mut digest = [0; 16];
            for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(words) {
                *bytes = word[lane].to_le_bytes();
            }
            digest
        })
    }
}

#[expect(clippy::inline_always, reason = "a call costs as much as the step")]
#[inline(always)]
fn step<const ROTATE: u32>(sum: u32x8, sine: u32) -> u32x8 {
    let sum = sum + u32x8::splat(sine);
    (sum << ROTATE) | (sum >> (32 - ROTATE))
}

/// A message in blocks, the last one or two of which are padded.
struct Blocks<'a> {
    whole: &'a [[u8; BLOCK]],
    padded: [[u8; BLOCK]; 2],
    count: usize,
}

impl<'a> Blocks<'a> {
    fn of(message: &'a [u8]) -> Self {
        let (whole, rest) = message.as_chunks();
        let mut padded = [0; 2 * BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        padded[rest.len()] = 0x80;
        let end = if rest.len() + 1 + LENGTH <= BLOCK {
            BLOCK
        } else {
            2 * BLOCK
        };
        padded[end - LENGTH..end].copy_from_slice(&(message.len() as u64 * 8).to_le_bytes());
        let (first, second) = padded.split_at(BLOCK);
        let mut blocks = [[0; BLOCK]; 2];
        blocks[0].copy_from_slice(first);
        blocks[1].copy_from_slice(second);
        Self {
            whole,
            padded: blocks,
            count: whole.len() + end / BLOCK,
        }
    }

    /// The block at `index`; past the end, any.
    fn block(&self, index: usize) -> &[u8; BLOCK] {
        self.whole.get(index).unwrap_or_else(|| {
            let padded = index - self.whole.len();
            &self.padded[padded.min(1)]
        })
    }
}

/// For the first of some records, whether each is a container whose checksum matches.
///
/// There is an answer for as many of them, up to eight, as are worth looking at together: containers of about the same
/// size. Where there is none, nobody has looked.
pub(crate) fn are_sound<'r>(
    records: impl Iterator<Item = &'r [u8]>,
) -> Take<array::IntoIter<bool, LANES>> {
    let mut messages: [&[u8]; LANES] = [&[]; LANES];
    let mut checksums = [[0; CHECKSUM_BYTES]; LANES];
    let mut count = 0;
    for record in records.take(LANES) {
        let framed = record.strip_prefix(&MAGIC).unwrap_or_default();
        let Some((message, checksum)) = framed.split_last_chunk() else {
            break;
        };
        let first = if count == 0 { message } else { messages[0] };
        let is_alike = message.len() <= 2 * first.len() && first.len() <= 2 * message.len();
        if message.is_empty() || !is_alike {
            break;
        }
        (messages[count], checksums[count]) = (message, *checksum);
        count += 1;
    }
    let found = if count < WORTHWHILE {
        count = 0;
        [false; LANES]
    } else {
        // A lane without a message of its own may do as the first.
        let (used, unused) = messages.split_at_mut(count);
        unused.fill(used[0]);
        let digests = digests(messages);
        array::from_fn(|lane| digests[lane] == checksums[lane])
    };
    found.into_iter().take(count)
}

/// The MD5 of each message. Messages of unlike lengths are right too, and take as long as the longest.
fn digests(messages: [&[u8]; LANES]) -> [[u8; 16]; LANES] {
    let blocks = messages.map(Blocks::of);
    let counts = blocks.each_ref().map(|blocks| blocks.count);
    let least = counts.into_iter().min().unwrap_or(0);
    let most = counts.into_iter().max().unwrap_or(0);
    let mut state = State::new();
    for index in 0..most {
        let mut words = [[0; LANES]; 16];
        for (lane, blocks) in blocks.iter().enumerate() {
            let bytes = blocks.block(index).as_chunks::<4>().0;
            for (word, bytes) in words.iter_mut().zip(bytes) {
                word[lane] = u32::from_le_bytes(*bytes);
            }
        }
        let before = state;
        state.compress(&words.map(u32x8::from));
        if index >= least {
            state.keep(&before, counts.map(|count| index < count));
        }
    }
    state.digests()
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_message_has_the_digest_that_it_has_alone(
            messages in prop::array::uniform8(prop::collection::vec(any::<u8>(), 0..300)),
        ) {
            let together = digests(messages.each_ref().map(Vec::as_slice));
            for (message, digest) in messages.iter().zip(together) {
                prop_assert_eq!(&digest[..], &Md5::digest(message)[..]);
            }
        }

        /// Whatever is found together is what is found alone, for the records from the front.
        #[test]
        fn a_container_is_sound_together_if_it_is_alone(
            records in prop::collection::vec((0_usize..400, 0_usize..6), 0..12),
        ) {
            let records: Vec<Vec<u8>> = records
                .into_iter()
                .map(|(length, kind)| {
                    let message: Vec<u8> = (0..length).map(|index| (index * kind) as u8).collect();
                    let mut checksum = Md5::digest(&message).to_vec();
                    match kind {
                        0 => return message,
                        1 => checksum[length % 16] ^= 1,
                        2 => checksum.truncate(length % 16),
                        _ => {}
                    }
                    [&MAGIC[..], &message, &checksum].concat()
                })
                .collect();
            let alone = |record: &Vec<u8>| {
                let framed = record.strip_prefix(&MAGIC).unwrap_or_default();
                let (message, checksum) = framed.split_last_chunk::<CHECKSUM_BYTES>()?;
                Some(Md5::digest(message)[..] == *checksum)
            };
            let found = are_sound(records.iter().map(Vec::as_slice));
            prop_assert!(found.len() == 0 || found.len() >= WORTHWHILE);
            for (record, is_sound) in records.iter().zip(found) {
                prop_assert_eq!(alone(record), Some(is_sound));
            }
        }
    }
}
