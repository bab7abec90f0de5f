//! Arithmetic in which any disturbed register shows.

/// Runs a chaotic map in floating-point registers and a mixing function in general ones. The same
/// seed gives the same answer, unless something on the way has touched a register.
#[inline(never)]
pub(crate) fn torture(seed: u64) -> u64 {
    // Or else the compiler, which knows the answer to be the same, works it out once.
    let seed = core::hint::black_box(seed);
    let mut lanes: [f64; 8] = core::array::from_fn(|lane| 0.1 + (seed % 1000 + lane as u64) as f64 / 2000.0);
    let mut words: [u64; 4] = core::array::from_fn(|word| seed.wrapping_add(word as u64));
    for round in 0..500 {
        for lane in &mut lanes {
            *lane = 3.99 * *lane * (1.0 - *lane);
        }
        for word in &mut words {
            *word = (word.rotate_left(7) ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    let lanes = lanes.iter().fold(0, |sum: u64, lane| sum.rotate_left(9) ^ lane.to_bits());
    words.iter().fold(lanes, |sum, word| sum.rotate_left(5) ^ word)
}
