//! Small line graphs as SVG inside of the page: nothing is loaded from anywhere.

use super::ms;

/// One line: its name, its colour, and its points from left to right.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) colour: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 10.0;
/// More points than that cannot be told apart: of each group the highest is drawn, as peaks are what counts.
const MOST: usize = 600;

pub(super) fn svg(title: &str, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let right = all().map(|point| point.0).fold(1.0, f64::max);
    let top = round_up(all().map(|point| point.1).fold(0.0, f64::max));
    let place = |&(x, y): &(f64, f64)| {
        let across = LEFT + x / right * (WIDTH - LEFT - 10.0);
        let up = HEIGHT - BOTTOM - y / top * (HEIGHT - BOTTOM - TOP);
        format!("{across:.1},{up:.1}")
    };
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg">"#
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let up = HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP);
        svg.push_str(&format!(
            r#"<line x1="{LEFT}" y1="{up:.1}" x2="{WIDTH}" y2="{up:.1}" class="grid"/><text x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            up + 4.0,
            tick(value)
        ));
    }
    for step in 0..=5 {
        let value = right * f64::from(step) / 5.0;
        let across = LEFT + value / right * (WIDTH - LEFT - 10.0);
        svg.push_str(&format!(
            r#"<text x="{across:.1}" y="{:.1}" text-anchor="middle">{} s</text>"#,
            HEIGHT - 6.0,
            tick(value)
        ));
    }
    for line in lines {
        let points: Vec<String> = thin(&line.points).iter().map(place).collect();
        svg.push_str(&format!(
            r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="1.5"><title>{}</title></polyline>"#,
            points.join(" "),
            line.colour,
            line.name
        ));
    }
    svg.push_str("</svg>");
    let legend: Vec<String> = lines
        .iter()
        .map(|line| format!(r#"<span style="color:{}">■</span> {}"#, line.colour, line.name))
        .collect();
    format!(
        "<figure><figcaption>{title} &nbsp; {}</figcaption>{svg}</figure>",
        legend.join(" &nbsp; ")
    )
}

fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(MOST).max(1);
    let highest = |group: &[(f64, f64)]| group.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
    points.chunks(group).filter_map(highest).collect()
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|&step| step >= value * 0.999_999)
        .unwrap_or(value)
}

fn tick(value: f64) -> String {
    if value == value.round() {
        format!("{value:.0}")
    } else {
        ms(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        for (value, top) in [
            (0.0, 1.0),
            (0.3, 0.5),
            (1.0, 1.0),
            (1.1, 2.0),
            (37.0, 50.0),
            (501.0, 1000.0),
        ] {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn a_long_run_keeps_its_peaks() {
        let mut points: Vec<(f64, f64)> = (0..6000).map(|second| (f64::from(second), 1.0)).collect();
        points[4321].1 = 99.0;
        let thinned = thin(&points);
        assert_eq!(thinned.len(), 600);
        assert!(thinned.contains(&(4321.0, 99.0)));
    }

    #[test]
    fn a_line_goes_where_its_points_are() {
        let line = Line {
            name: "p99",
            colour: "#c00",
            points: vec![(0.0, 0.0), (10.0, 5.0)],
        };
        let svg = svg("Latency", &[line]);
        assert!(svg.contains(r#"points="60.0,196.0 890.0,10.0""#), "{svg}");
        assert!(!super::svg("Nothing", &[]).contains("NaN"));
    }
}
