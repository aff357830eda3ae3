use super::*;

fn point(x: f64, y: f64) -> Point {
    Point { x, y, ends: Some([y * 0.9, y * 1.1]) }
}

fn series(style: usize, points: &[(f64, f64)]) -> Series {
    let points = points.iter().map(|&(x, y)| point(x, y)).collect();
    Series { style: Style(style), points }
}

const ALL: [Horizontal; 3] = [Horizontal::Linear, Horizontal::Logarithmic, Horizontal::Time];

#[test]
fn nothing_is_drawn_of_nothing_and_nonsense_is_left_out() {
    let nonsense = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, 1e-300];
    for horizontal in ALL {
        let check = |points: &[(f64, f64)], is_drawn: bool| {
            let svg = lines(&[series(0, points)], &horizontal, ["x", "y"]);
            assert_eq!(svg.is_some(), is_drawn, "{points:?} {horizontal:?}");
            let has_height = points.iter().any(|point| point.1 != 0.0);
            let by_factors = lines_by_factors(&[series(0, points)], &horizontal, ["x", "y"]);
            assert_eq!(by_factors.is_some(), is_drawn && has_height, "{points:?} {horizontal:?}");
            let svg = svg.into_iter().chain(by_factors).collect::<String>();
            for number in ["NaN", "inf"] {
                assert!(!svg.contains(number), "{points:?}");
            }
        };
        check(&[], false);
        check(&[(5.0, 5.0)], true);
        check(&[(5.0, 0.0), (5.0, 0.0)], true);
        for value in nonsense {
            check(&[(5.0, value)], false);
            check(&[(value, 5.0)], false);
            check(&[(5.0, 5.0), (value, 5.0), (6.0, value), (7.0, 1.0)], true);
        }
        check(&[(1e-9, 1e-9), (1e15, 1e15)], true);
    }
    for value in nonsense {
        let bar = Bar { label: "a".into(), parts: vec![(value, 0)], ends: None };
        assert_eq!(bars(&[bar], "x"), None);
        let ends = Some([value, value]);
        let bar = Bar { label: "a".into(), parts: vec![(1.0, 0), (value, 1)], ends };
        assert!(bars(&[bar], "x").is_some());
    }
    assert_eq!(bars(&[], "x"), None);
}

#[test]
fn names_are_escaped_and_are_no_mathematics() {
    let check = |label: &str, expected: &str| {
        let bar = Bar { label: label.into(), parts: vec![(1.0, 0)], ends: None };
        let svg = bars(&[bar], "x").unwrap();
        assert!(svg.contains(&format!(">{expected}</text>")), "{expected} in {svg}");
    };
    check("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;");
    check(r"a$\alpha$b", r"a$\alpha$b");
    check("a\0b\nc", "a\u{fffd}b c");
    check(&"n".repeat(37), &"n".repeat(37));
    check(&format!("a{}z", "n".repeat(40)), &format!("a{0}…{0}z", "n".repeat(17)));
    check("instruct-int4 · onnxruntime · 2 threads", "instruct-int4 · ort · 2 thr");
}

#[test]
fn colours_are_those_of_the_page() {
    let drawn = [
        lines(
            &[series(0, &[(1.0, 2.0), (3.0, 4.0)]), series(9, &[(1.0, 1.0)])],
            &ALL[0],
            ["x", "y"],
        ),
        bars(&[Bar { label: "a".into(), parts: vec![(1.0, 0)], ends: Some([0.5, 2.0]) }], "x"),
    ];
    for svg in drawn.into_iter().flatten() {
        for own in ["fill=\"#", "stroke=\"#"] {
            assert!(!svg.contains(own), "{own} in {svg}");
        }
        assert!(svg.contains("var(--s0)") && svg.contains("var(--text)"), "{svg}");
        assert!(!svg.contains("http"), "{svg}");
    }
}

#[test]
fn neighbours_differ_in_more_than_colour() {
    for place in 0..N_SERIES_MAX {
        for other in 0..place {
            let (one, other) = (Style(place), Style(other));
            assert_ne!((one.dash(), one.color()), (other.dash(), other.color()));
            assert_ne!(swatch(one), swatch(other));
        }
    }
}

#[test]
fn clip_paths_are_numbered_by_the_page() {
    let mut n_clips = 3;
    let svg = r#"<clipPath id="kuva-clip-71"/><g clip-path="url(#kuva-clip-71)">kuva-clip-71</g>"#;
    let expected = r#"<clipPath id="clip-3"/><g clip-path="url(#clip-3)">kuva-clip-71</g>"#;
    assert_eq!(renumber(svg, &mut n_clips), expected);
    assert_eq!(n_clips, 4);
}
