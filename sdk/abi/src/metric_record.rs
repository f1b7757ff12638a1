//! One value for one metric series, as [`import::METRIC_RECORDS`](crate::import::METRIC_RECORDS) takes many.

use crate::MetricOp;

/// A value to be recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricRecord {
    /// The handle of the series.
    pub series: i32,
    /// What is to be done with the value.
    pub op: MetricOp,
    /// The value.
    pub value: f64,
}

impl MetricRecord {
    /// Bytes of one in a message: `series: i32, op: u32, value: f64`.
    pub const BYTES: usize = 16;
    /// The most of one host call.
    pub const MAX: usize = 1024;

    /// As it stands in a message.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let ([a, b, c, d], [e, f, g, h]) = (self.series.to_le_bytes(), self.op.code().to_le_bytes());
        let [i, j, k, l, m, n, o, p] = self.value.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// Reads one; `None` when its operation is not known.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Some(Self {
            series: i32::from_le_bytes([a, b, c, d]),
            op: MetricOp::try_from(u32::from_le_bytes([e, f, g, h])).ok()?,
            value: f64::from_le_bytes([i, j, k, l, m, n, o, p]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for (series, op, value) in
            [(0, MetricOp::Add, -1.0), (i32::MAX, MetricOp::Set, 1e300), (-1, MetricOp::Record, 0.25)]
        {
            let record = MetricRecord { series, op, value };
            assert_eq!(MetricRecord::from_bytes(record.to_bytes()), Some(record));
        }
        assert_eq!(MetricRecord::from_bytes([9; MetricRecord::BYTES]), None);
    }
}
