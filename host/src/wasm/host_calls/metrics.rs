//! Metrics of filters.

use meshup_abi::{INVALID, MetricKind, MetricOp, QUOTA};
use wasmtime::Caller;

use super::{Guest, Region, Result, guest};
use crate::wasm::series::SeriesError;

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
    let series = caller.data().series.get(series);
    let (Some(series), Ok(op)) = (series, MetricOp::try_from(op)) else { return INVALID };
    if series.record(op, value) { 0 } else { INVALID }
}
