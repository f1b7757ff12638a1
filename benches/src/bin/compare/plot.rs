//! The result as a picture: a bar of CPU time for each proxy in each scenario.

use std::path::Path;

use anyhow::Result;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::table::{Row, Table};

const WIDTH: u32 = 880;
const TITLE_HEIGHT: u32 = 34;
const ROW_HEIGHT: u32 = 20;
/// Where the bars begin and where the longest ends.
const BARS: (i32, i32) = (220, 720);
const OURS: RGBColor = RGBColor(0xd9, 0x5f, 0x02);
const THEIRS: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Writes all scenarios below each other, and below them the lines that say where they come from.
pub(crate) fn write(tables: &[Table], notes: &[String], path: &Path) -> Result<()> {
    let all: u32 = tables.iter().map(height).sum();
    let below = ROW_HEIGHT * u32::try_from(notes.len() + 1)?;
    let mut rest = SVGBackend::new(path, (WIDTH, all + below)).into_drawing_area();
    rest.fill(&WHITE)?;
    for table in tables {
        let (area, below) = rest.split_vertically(height(table));
        scenario(table, &area)?;
        rest = below;
    }
    for (line, top) in notes.iter().zip((ROW_HEIGHT / 2..).step_by(ROW_HEIGHT as usize)) {
        rest.draw(&Text::new(line.as_str(), (10, i32::try_from(top)?), (FONT, 11)))?;
    }
    rest.present()?;
    Ok(())
}

fn height(table: &Table) -> u32 {
    TITLE_HEIGHT + ROW_HEIGHT * u32::try_from(table.rows.len()).unwrap_or_default()
}

fn scenario(table: &Table, area: &Area<'_>) -> Result<()> {
    let title = format!("{} (CPU µs per request)", table.title);
    area.draw(&Text::new(title, (10, 12), (FONT, 15).into_font().style(FontStyle::Bold)))?;
    let longest = table.rows.iter().filter_map(Row::micros).fold(0.0, f64::max);
    for (row, top) in table.rows.iter().zip((TITLE_HEIGHT..).step_by(ROW_HEIGHT as usize)) {
        let share = row.micros().map_or(0.0, |micros| micros / longest);
        bar(row, share, &figures(table, row), i32::try_from(top)?, area)?;
    }
    Ok(())
}

fn figures(table: &Table, row: &Row) -> String {
    let ratio = table.ratio(row).map_or(String::new(), |ratio| format!("  ({ratio:.2} x nginx)"));
    row.micros().map_or("failed".into(), |micros| format!("{micros:.1}{ratio}"))
}

fn bar(row: &Row, share: f64, figures: &str, top: i32, area: &Area<'_>) -> Result<()> {
    let (left, right) = BARS;
    let end = left + (f64::from(right - left) * share) as i32;
    let (middle, bottom) = (top + ROW_HEIGHT as i32 / 2, top + ROW_HEIGHT as i32 - 4);
    let colour = if row.is_ours() { OURS } else { THEIRS };
    area.draw(&Rectangle::new([(left, top), (end, bottom)], colour.filled()))?;
    let text = |horizontal| (FONT, 13).into_font().color(&BLACK).pos(Pos::new(horizontal, VPos::Center));
    area.draw(&Text::new(row.name.clone(), (left - 8, middle), text(HPos::Right)))?;
    area.draw(&Text::new(figures, (end + 6, middle), text(HPos::Left)))?;
    Ok(())
}
