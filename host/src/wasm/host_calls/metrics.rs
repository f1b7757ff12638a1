//! Metrics of filters.

use meshup_abi::{INVALID, MetricKind, MetricOp, MetricRecord, QUOTA};
use wasmtime::Caller;

use super::{Guest, Region, Result, guest};
use crate::wasm::series::{SeriesError, SeriesHandles};

pub(super) fn metric_series(mut caller: Caller<'_, Guest>, kind: u32, message: u32, len: u32) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let message = Region::new(message, len).of(memory)?;
    let Ok(kind) = MetricKind::try_from(kind) else { return Ok(INVALID) };
    Ok(match guest.series.handle(&guest.environment.series, kind, message) {
        Ok(handle) => handle,
        Err(SeriesError::Invalid) => INVALID,
        Err(SeriesError::Quota) => QUOTA,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the linker takes functions of this shape")]
pub(super) fn metric_record(caller: Caller<'_, Guest>, series: i32, op: u32, value: f64) -> i32 {
    let record = MetricOp::try_from(op).ok().map(|op| MetricRecord { series, op, value });
    if is_recorded(&caller.data().series, record) { 0 } else { INVALID }
}

pub(super) fn metric_records(mut caller: Caller<'_, Guest>, records: u32, len: u32) -> Result<i32> {
    let (memory, guest) = guest(&mut caller)?;
    let (records, rest) = Region::new(records, len).of(memory)?.as_chunks();
    if !rest.is_empty() || records.len() > MetricRecord::MAX {
        return Ok(INVALID);
    }
    let refused = records.iter().filter(|bytes| !is_recorded(&guest.series, MetricRecord::from_bytes(**bytes)));
    Ok(if refused.count() == 0 { 0 } else { INVALID })
}

/// Records a value, if there is such a series and it takes that.
fn is_recorded(all: &SeriesHandles, record: Option<MetricRecord>) -> bool {
    record.is_some_and(|MetricRecord { series, op, value }| {
        all.get(series).is_some_and(|series| series.record(op, value))
    })
}
