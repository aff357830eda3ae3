//! A definition for the task scheduler of Windows. Not tried.

use super::launchd::escaped;
use super::{Plan, ServiceError, told};

/// A task that begins with the login, for `schtasks /create /tn lapwing /xml FILE`. It sees the
/// variables of the login: none can be written into it.
///
/// # Errors
///
/// When a path cannot be written into it.
pub fn task(plan: &Plan) -> Result<String, ServiceError> {
    let words = plan.command_line();
    let words: Result<Vec<&str>, _> = words.iter().map(|word| told(word)).collect();
    let words = words?;
    let program = escaped(words[0]);
    let arguments: Vec<String> = words[1..].iter().map(|word| format!("\"{word}\"")).collect();
    let arguments = escaped(&arguments.join(" "));
    Ok(format!(
        r#"<?xml version="1.0"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Language models for the programs of this user</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>5</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{program}</Command>
      <Arguments>{arguments}</Arguments>
    </Exec>
  </Actions>
</Task>
"#
    ))
}
