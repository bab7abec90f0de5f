//! How figures are written for a person.

/// The number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_come_in_threes() {
        let written = [0, 7, 999, 1000, 40_708, 123_456, 1_234_567].map(grouped);
        assert_eq!(written, ["0", "7", "999", "1,000", "40,708", "123,456", "1,234,567"]);
    }
}
