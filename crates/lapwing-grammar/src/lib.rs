//! Answers that keep to a form.
