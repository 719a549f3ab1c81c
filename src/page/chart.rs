//! Charts as SVG, drawn by us. Pure.
//!
//! One unit of width is one hour, a hundred of height are the whole. The browser stretches that to the room
//! there is, so the words stand beside it and not in it. What comes out is markup: it is made of numbers and
//! of the names that our own code gives, which are escaped all the same.

use std::fmt::Write;

/// What is shown by one colour.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: &'static str,
    /// The class that the style sheet gives a colour.
    pub class: &'static str,
    /// One for each hour; `None`: nothing is known of it.
    pub values: Vec<Option<f64>>,
}

/// A chart and the words around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// `<svg>…</svg>`
    pub svg: String,
    /// What the upper edge and the middle stand for.
    pub top: String,
    pub middle: String,
    /// Below it, from left to right and evenly.
    pub ticks: Vec<String>,
    /// Nothing happened.
    pub is_empty: bool,
}

/// Marks below a chart.
const TICKS: usize = 4;

/// Bars, the series on top of each other; and a line of steps over them.
///
/// `times` names each hour in full, `labels` in short; `say` puts a value in words.
pub fn bars(
    times: &[String],
    labels: &[String],
    stacked: &[Series],
    line: Option<&Series>,
    say: &dyn Fn(f64) -> String,
) -> Chart {
    let hours = times.len();
    let sum = |at: usize| stacked.iter().map(|series| value(series, at)).sum::<f64>();
    let highest = (0..hours)
        .map(|at| sum(at).max(line.map_or(0.0, |line| value(line, at))))
        .fold(0.0, f64::max);
    let top = whole_ceiling(highest);
    let mut shapes = String::new();
    for (at, time) in times.iter().enumerate() {
        let mut below = 0.0;
        let mut words = Vec::new();
        let mut pieces = String::new();
        for series in stacked.iter().chain(line) {
            let of = value(series, at);
            if of > 0.0 {
                words.push(format!("{} {}", say(of), series.name));
            }
        }
        for series in stacked {
            let height = value(series, at) / top * 100.0;
            if height > 0.0 {
                let y = 100.0 - below - height;
                let _ = write!(
                    pieces,
                    "<rect class=\"{}\" x=\"{at}.1\" y=\"{y:.2}\" width=\"0.8\" height=\"{height:.2}\"/>",
                    series.class
                );
                below += height;
            }
        }
        if !words.is_empty() {
            let _ = write!(
                shapes,
                "<g><title>{}: {}</title><rect class=\"hover\" x=\"{at}\" y=\"0\" width=\"1\" \
                 height=\"100\"/>{pieces}</g>",
                escaped(time),
                escaped(&words.join(", "))
            );
        }
    }
    if let Some(line) = line {
        let mut path = String::new();
        for at in 0..hours {
            let y = 100.0 - value(line, at) / top * 100.0;
            let command = if at == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{at} {y:.2}H{}", at + 1);
        }
        let _ = write!(shapes, "<path class=\"{}\" d=\"{path}\"/>", line.class);
    }
    Chart {
        svg: svg(hours, &shapes),
        top: say(top),
        middle: if top >= 2.0 { say(top / 2.0) } else { String::new() },
        ticks: ticks(labels),
        is_empty: highest <= 0.0,
    }
}

/// A line for each series, which breaks off where nothing is known. Values are milliseconds.
pub fn lines(
    times: &[String],
    labels: &[String],
    series: &[Series],
    say: &dyn Fn(f64) -> String,
) -> Chart {
    let hours = times.len();
    let all = series.iter().flat_map(|series| series.values.iter().flatten());
    let highest = all.copied().fold(0.0, f64::max);
    let is_empty = series.iter().all(|series| series.values.iter().all(Option::is_none));
    let top = span_ceiling(highest);
    let mut shapes = String::new();
    for (at, time) in times.iter().enumerate() {
        let known = |series: &Series| {
            let value = series.values.get(at).copied().flatten()?;
            Some(format!("{} {}", series.name, say(value)))
        };
        let words: Vec<String> = series.iter().filter_map(known).collect();
        if !words.is_empty() {
            let _ = write!(
                shapes,
                "<g><title>{}: {}</title><rect class=\"hover\" x=\"{at}\" y=\"0\" width=\"1\" \
                 height=\"100\"/></g>",
                escaped(time),
                escaped(&words.join(", "))
            );
        }
    }
    for series in series {
        let mut path = String::new();
        let mut before = false;
        for at in 0..hours {
            let Some(value) = series.values.get(at).copied().flatten() else {
                before = false;
                continue;
            };
            let (command, y) = (if before { 'L' } else { 'M' }, 100.0 - value / top * 100.0);
            // The hour has a width, so that one between two silent ones is seen.
            let _ = write!(path, "{command}{at}.1 {y:.2}H{at}.9");
            before = true;
        }
        let _ = write!(shapes, "<path class=\"{}\" d=\"{path}\"/>", series.class);
    }
    Chart {
        svg: svg(hours, &shapes),
        top: say(top),
        middle: say(top / 2.0),
        ticks: ticks(labels),
        is_empty,
    }
}

fn value(series: &Series, at: usize) -> f64 {
    let value = series.values.get(at).copied().flatten().unwrap_or(0.0);
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

fn svg(hours: usize, shapes: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {hours} 100\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\"><path class=\"grid\" d=\"M0 0H{hours}M0 50H{hours}M0 100H{hours}\"/>\
         {shapes}</svg>"
    )
}

/// The labels of the hours at even distances, the first among them.
fn ticks(labels: &[String]) -> Vec<String> {
    let step = labels.len().div_ceil(TICKS).max(1);
    labels.iter().step_by(step).cloned().collect()
}

/// 1, 2, 4, 6 or 8 times a power of ten, no less than `value`: most have a whole half.
fn whole_ceiling(value: f64) -> f64 {
    let mut power = 1.0;
    for _ in 0..18 {
        for step in [1.0, 2.0, 4.0, 6.0, 8.0] {
            if value <= step * power {
                return step * power;
            }
        }
        power *= 10.0;
    }
    value
}

/// A round span of time, no less than `value`, in milliseconds.
fn span_ceiling(value: f64) -> f64 {
    const SECOND: f64 = 1_000.0;
    const MINUTE: f64 = 60.0 * SECOND;
    const HOUR: f64 = 60.0 * MINUTE;
    let spans = [
        0.1 * SECOND,
        0.2 * SECOND,
        0.5 * SECOND,
        SECOND,
        2.0 * SECOND,
        5.0 * SECOND,
        10.0 * SECOND,
        20.0 * SECOND,
        60.0 * SECOND,
        2.0 * MINUTE,
        4.0 * MINUTE,
        10.0 * MINUTE,
        20.0 * MINUTE,
        HOUR,
        2.0 * HOUR,
        6.0 * HOUR,
        12.0 * HOUR,
        24.0 * HOUR,
    ];
    spans.into_iter().find(|span| value <= *span).unwrap_or_else(|| whole_ceiling(value))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("{at:02}:00")).collect()
    }

    fn series(class: &'static str, values: &[Option<f64>]) -> Series {
        Series { name: class, class, values: values.to_vec() }
    }

    fn say(value: f64) -> String {
        format!("{value:.0}")
    }

    /// `x y width height` of each bar of a class.
    fn rects(svg: &str, class: &str) -> Vec<[f64; 4]> {
        let of = format!("<rect class=\"{class}\"");
        let each = svg.split("<rect").skip(1).map(|rest| format!("<rect{rest}"));
        each.filter(|rect| rect.starts_with(&of))
            .map(|rect| {
                ["x", "y", "width", "height"].map(|name| {
                    let (_, rest) = rect.split_once(&format!(" {name}=\"")).unwrap();
                    rest.split('"').next().unwrap().parse().unwrap()
                })
            })
            .collect()
    }

    #[test]
    fn bars_stand_on_each_other_and_are_as_high_as_their_numbers() {
        let hours = hours(3);
        let sent = series("good", &[Some(4.0), None, Some(8.0)]);
        let failed = series("bad", &[Some(2.0), Some(1.0), None]);
        let chart = bars(&hours, &hours, &[sent, failed], None, &say);
        assert_eq!((chart.top.as_str(), chart.middle.as_str()), ("8", "4"));
        assert_eq!(rects(&chart.svg, "good"), [[0.1, 50.0, 0.8, 50.0], [2.1, 0.0, 0.8, 100.0]]);
        assert_eq!(rects(&chart.svg, "bad"), [[0.1, 25.0, 0.8, 25.0], [1.1, 87.5, 0.8, 12.5]]);
        assert!(chart.svg.contains("<title>00:00: 4 good, 2 bad</title>"), "{}", chart.svg);
        assert!(!chart.is_empty);
    }

    #[test]
    fn a_line_of_steps_counts_for_the_height_as_well() {
        let hours = hours(2);
        let line = series("line", &[Some(10.0), Some(0.0)]);
        let chart = bars(&hours, &hours, &[series("good", &[Some(5.0)])], Some(&line), &say);
        assert_eq!(chart.top, "10");
        assert!(chart.svg.contains("d=\"M0 0.00H1L1 100.00H2\""), "{}", chart.svg);
        assert_eq!(rects(&chart.svg, "good"), [[0.1, 50.0, 0.8, 50.0]]);
    }

    #[test]
    fn a_line_breaks_off_where_nothing_is_known() {
        let hours = hours(4);
        let values = [Some(1_000.0), Some(500.0), None, Some(0.0)];
        let chart = lines(&hours, &hours, &[series("good", &values)], &say);
        let path = "d=\"M0.1 0.00H0.9L1.1 50.00H1.9M3.1 100.00H3.9\"";
        assert!(chart.svg.contains(path), "{}", chart.svg);
    }

    #[test]
    fn nothing_and_nonsense_are_drawn_as_nothing() {
        let hours = hours(2);
        let empty = bars(&hours, &hours, &[series("good", &[])], None, &say);
        assert!(empty.is_empty && rects(&empty.svg, "good").is_empty());
        assert!(lines(&[], &[], &[], &say).is_empty);
        let odd = series("good", &[Some(f64::NAN), Some(-1.0)]);
        let chart = bars(&hours, &hours, &[odd], None, &say);
        assert!(chart.is_empty && !chart.svg.contains("NaN"), "{}", chart.svg);
    }

    #[test]
    fn what_is_said_in_a_chart_is_text() {
        let chart = bars(
            &["<b>\"".to_owned()],
            &["a".to_owned()],
            &[series("good", &[Some(1.0)])],
            None,
            &|_| "&".to_owned(),
        );
        assert!(chart.svg.contains("<title>&lt;b&gt;&quot;: &amp; good</title>"), "{}", chart.svg);
    }

    #[test]
    fn scales_are_round_and_ticks_are_few() {
        let tops = [0.0, 1.0, 3.0, 9.0, 11.0, 4_100.0].map(whole_ceiling);
        assert_eq!(tops, [1.0, 1.0, 4.0, 10.0, 20.0, 6_000.0]);
        let spans = [0.0, 150.0, 61_000.0, 4e9].map(span_ceiling);
        assert_eq!(spans, [100.0, 200.0, 120_000.0, 4e9]);
        assert_eq!(ticks(&hours(48)), ["00:00", "12:00", "24:00", "36:00"]);
    }
}
