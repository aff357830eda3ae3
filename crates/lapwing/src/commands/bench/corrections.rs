//! Which corrections are worth measuring: `auto` without a profile that may be used is `off`.

use lapwing_host::CorrectionChoice;
use lapwing_host::correction::why_auto_is_off;

use crate::printer::Printer;
use crate::settings::Settings;

/// `asked`, with `off` in the place of an `auto` that changes nothing for `model`; that is said.
pub(super) fn effective(
    asked: Vec<CorrectionChoice>,
    model: &str,
    settings: &Settings,
    printer: &Printer,
) -> Vec<CorrectionChoice> {
    let of_one = |correction| match (&correction, why_auto_is_off(model, &settings.home.profiles()))
    {
        (CorrectionChoice::Auto, Some(why)) => {
            printer.note(format!("--correction auto is off for {model}: {why}"));
            CorrectionChoice::Off
        }
        _ => correction,
    };
    asked.into_iter().map(of_one).collect()
}
