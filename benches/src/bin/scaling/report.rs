//! The result: a table and a line in the plot for each axis.
//!
//! **Invariant:** ratios are taken within a round, never across rounds.

use std::{fmt, fs, path::Path, time::Duration};

use anyhow::Result;
use meshup_benches::stats::median;
use plotters::{coord::Shift, prelude::*};

use crate::point::Axis;

const WIDTH: u32 = 880;
const HEIGHT: u32 = 230;
const NOTE_HEIGHT: u32 = 24;
const COLUMNS: usize = 2;
const LINE: RGBColor = RGBColor(0xd9, 0x5f, 0x02);

/// One turn of one point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) cpu_per_request: Duration,
    pub(crate) resident_bytes: u64,
}

/// All turns of an axis; prints as text.
pub(crate) struct Series {
    axis: Axis,
    /// By amount, a sample of each round.
    points: Vec<(usize, Vec<Sample>)>,
}

impl Series {
    pub(crate) fn new(axis: Axis) -> Self {
        Self { axis, points: axis.amounts().iter().map(|amount| (*amount, Vec::new())).collect() }
    }

    pub(crate) fn add(&mut self, amount: usize, sample: Sample) {
        if let Some((_, samples)) = self.points.iter_mut().find(|point| point.0 == amount) {
            samples.push(sample);
        }
    }

    /// CPU time beside that of the least amount.
    fn ratio(&self, samples: &[Sample]) -> f64 {
        let least = self.points.first().map_or(&[][..], |(_, samples)| samples);
        let ratios = samples.iter().zip(least).map(|(own, least)| own.micros() / least.micros());
        median(ratios).unwrap_or(f64::NAN)
    }

    fn micros(samples: &[Sample]) -> f64 {
        median(samples.iter().map(Sample::micros)).unwrap_or(f64::NAN)
    }
}

impl Sample {
    fn micros(&self) -> f64 {
        self.cpu_per_request.as_secs_f64() * 1e6
    }
}

impl fmt::Display for Series {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.points.first().map_or(0, |point| point.0);
        writeln!(out, "\n| {:>14} | CPU µs/request | x that of {least:>5} |   MiB |", self.axis.name())?;
        writeln!(out, "|---------------:|---------------:|----------------:|------:|")?;
        for (amount, samples) in &self.points {
            let (micros, ratio) = (Self::micros(samples), self.ratio(samples));
            let memory = median(samples.iter().map(|sample| sample.resident_bytes as f64)).unwrap_or(f64::NAN);
            writeln!(out, "| {amount:>14} | {micros:>14.1} | {ratio:>15.2} | {:>5.1} |", memory / 1024.0 / 1024.0)?;
        }
        if self.axis == Axis::Workers {
            let each = self.points.last().map_or(f64::NAN, |(amount, samples)| *amount as f64 / self.ratio(samples));
            writeln!(out, "\nSo much more work for as many more cores: {each:.2} x")?;
        }
        Ok(())
    }
}

/// Writes the tables and the plot into a folder, with a note that says where they come from.
pub(crate) fn write(series: &[Series], note: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let (table, plot) = (folder.join("scaling.md"), folder.join("scaling.svg"));
    fs::write(&table, format!("{note}\n{}", series.iter().map(Series::to_string).collect::<String>()))?;
    draw(series, note, &plot)?;
    println!("{}\n{}", table.display(), plot.display());
    Ok(())
}

fn draw(series: &[Series], note: &str, path: &Path) -> Result<()> {
    let rows = series.len().div_ceil(COLUMNS);
    let height = HEIGHT * u32::try_from(rows)?;
    let whole = SVGBackend::new(path, (WIDTH, height + NOTE_HEIGHT)).into_drawing_area();
    whole.fill(&WHITE)?;
    let (charts, below) = whole.split_vertically(height);
    below.draw(&Text::new(note, (12, 4), ("sans-serif", 11)))?;
    for (series, area) in series.iter().zip(charts.split_evenly((rows, COLUMNS))) {
        draw_one(series, &area)?;
    }
    whole.present()?;
    Ok(())
}

/// Amounts stand at equal distances: they grow by factors.
fn draw_one(series: &Series, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
    let micros: Vec<f64> = series.points.iter().map(|(_, samples)| Series::micros(samples)).collect();
    let top = micros.iter().copied().fold(0.0, f64::max) * 1.15;
    let amounts = series.axis.amounts();
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(format!("CPU µs per request by {}", series.axis.name()), ("sans-serif", 14))
        .x_label_area_size(24)
        .y_label_area_size(36)
        .build_cartesian_2d(-0.2..amounts.len() as f64 - 0.8, 0.0..top)?;
    let label = |position: &f64| {
        let whole = position.fract().abs() < 0.01;
        let amount = whole.then(|| amounts.get(*position as usize)).flatten();
        amount.map_or(String::new(), usize::to_string)
    };
    chart.configure_mesh().disable_x_mesh().x_labels(amounts.len()).x_label_formatter(&label).y_labels(5).draw()?;
    let points = || micros.iter().enumerate().map(|(position, micros)| (position as f64, *micros));
    chart.draw_series(LineSeries::new(points(), LINE.stroke_width(2)))?;
    chart.draw_series(points().map(|point| Circle::new(point, 3, LINE.filled())))?;
    Ok(())
}
