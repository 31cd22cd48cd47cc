//! What whoever asks is told.

use serde_json::json;

use super::{Health, Reason};

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One reason a line.
    Text,
    /// One object.
    Json,
}

/// An answer: yes, or the reasons why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether all is well.
    pub good: bool,
    /// What is said.
    pub body: String,
}

impl Answer {
    /// Whether the process is healthy.
    #[must_use]
    pub fn health(health: &Health, form: Form) -> Self {
        let reasons: Vec<_> = health
            .illnesses()
            .into_iter()
            .map(|text| ("loop", text))
            .collect();
        Self::of("healthy", &reasons, form)
    }

    /// Whether the process is ready.
    #[must_use]
    pub fn readiness(health: &Health, form: Form) -> Self {
        let reasons: Vec<_> = health
            .unready()
            .into_iter()
            .map(|Reason { code, text }| (code.word(), text))
            .collect();
        Self::of("ready", &reasons, form)
    }

    fn of(what: &'static str, reasons: &[(&str, String)], form: Form) -> Self {
        let good = reasons.is_empty();
        let body = match form {
            Form::Json => {
                let reasons: Vec<_> = reasons
                    .iter()
                    .map(|(code, text)| json!({"reason": code, "text": text}))
                    .collect();
                format!("{}\n", json!({what: good, "reasons": reasons}))
            }
            Form::Text if good => format!("{what}\n"),
            Form::Text => {
                let lines = reasons
                    .iter()
                    .map(|(code, text)| format!("{code}: {text}\n"));
                lines.collect()
            }
        };
        Self { good, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Code, Role};

    #[test]
    fn one_reason_a_line_or_one_object() {
        let health = Health::new(Role::Server);
        health.found(vec![
            Reason::new(Code::Leader, "no leader"),
            Reason::new(Code::Clients, "have 1, need 2"),
        ]);
        let told = Answer::readiness(&health, Form::Text);
        assert!(!told.good);
        assert_eq!(told.body, "leader: no leader\nclients: have 1, need 2\n");
        let told = Answer::readiness(&health, Form::Json);
        let json: serde_json::Value = serde_json::from_str(&told.body).unwrap();
        assert_eq!(json["ready"], false);
        assert_eq!(json["reasons"][1]["reason"], "clients");
        health.found(Vec::new());
        let told = Answer::readiness(&health, Form::Text);
        assert_eq!((told.good, told.body.as_str()), (true, "ready\n"));
        assert_eq!(Answer::health(&health, Form::Text).body, "healthy\n");
    }
}
