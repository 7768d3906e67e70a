//! A Lua interpreter, for scripts that other programs will run: Debian's.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::skip::Missing;

/// The program, and the package that has it.
const PROGRAM: &str = "lua5.4";

/// Debian packages that are missing here.
#[must_use]
pub fn missing_packages() -> Vec<&'static str> {
    if find().is_ok() { Vec::new() } else { vec![PROGRAM] }
}

/// Finds the interpreter, or says what is missing.
pub fn find() -> Result<(), Missing> {
    let found = Command::new(PROGRAM).arg("-v").output().is_ok_and(|output| output.status.success());
    if found { Ok(()) } else { Err(Missing::packages(&[PROGRAM])) }
}

/// Runs a script that returns a table, with a value in a global variable; these fields of the table, as text.
pub fn evaluate(script: &str, variable: &str, value: &Value, fields: &[&str]) -> Result<Vec<String>> {
    let mut program =
        format!("{variable} = {}\nlocal result = (function()\n{script}\nend)()\n", literal(value));
    for field in fields {
        let _ = writeln!(program, "print(result[{}])", quoted(field));
    }
    let output = Command::new(PROGRAM).args(["-e", &program]).output().context("cannot run Lua")?;
    ensure!(output.status.success(), "the script failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// A value as Lua writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| format!("[{}] = {}", quoted(key), literal(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..=31 | 127..=255 => {
                let _ = write!(quoted, "\\{byte:03}");
            }
            _ => quoted.push(char::from(byte)),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_lua_reads_them() {
        let value = json!({"a": [1, true, null, "x\"\n"]});
        assert_eq!(literal(&value), r#"{["a"] = {1, true, nil, "x\034\010"}}"#);
    }
}
