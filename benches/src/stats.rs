//! What is made of several measurements of the same.

/// The middle of the values, or the mean of the two in the middle; `None` without any.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => Some(sorted[middle]),
        _ => middle.checked_sub(1).map(|before| f64::midpoint(sorted[before], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians_of_none_one_two_and_three() {
        for (values, expected) in
            [(&[][..], None), (&[1.0], Some(1.0)), (&[1.0, 3.0], Some(2.0)), (&[1.0, 9.0, 2.0], Some(2.0))]
        {
            assert_eq!(median(values.iter().copied()), expected, "{values:?}");
        }
    }
}
