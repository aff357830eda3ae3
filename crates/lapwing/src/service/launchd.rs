//! A definition for launchd of macOS. Not tried.

use super::{Plan, ServiceError, told};

/// The property list of an agent, which belongs below `~/Library/LaunchAgents`.
///
/// # Errors
///
/// When a path cannot be written into it.
pub fn agent(plan: &Plan) -> Result<String, ServiceError> {
    let mut words = String::new();
    for word in plan.command_line() {
        words += &format!("    <string>{}</string>\n", escaped(told(&word)?));
    }
    let mut variables = String::new();
    for (name, value) in &plan.variables {
        variables +=
            &format!("    <key>{name}</key>\n    <string>{}</string>\n", escaped(told(value)?));
    }
    Ok(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>lapwing</string>
  <key>ProgramArguments</key>
  <array>
{words}  </array>
  <key>EnvironmentVariables</key>
  <dict>
{variables}  </dict>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ProcessType</key>
  <string>Background</string>
  <key>Umask</key>
  <integer>63</integer>
</dict>
</plist>
"#
    ))
}

/// Text between tags.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
