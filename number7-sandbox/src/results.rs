//! Results that a document of each type might have.

use number7_core::DocumentType;
use serde_json::{Value, json};

/// The vendor publishes only the fields of an invoice. Those of the other types are made up.
pub(crate) fn result(document_type: &DocumentType, number: u64) -> Value {
    // A multiple of 100, so that the taxes of nine percent each are whole, and the sum is right.
    let subtotal = 100_000 + 100 * number;
    let money = |percent: u64| {
        let part = subtotal * percent / 100;
        format!("{}.{:02}", part / 100, part % 100)
    };
    match document_type {
        DocumentType::Invoice => json!({
            "vendor": { "name": "Acme Traders", "gstin": "27AAPFU0939F1ZV" },
            "invoiceNo": format!("INV-{number:04}"),
            "date": "2026-04-22",
            "lineItems": [{ "description": "Paper, A4", "quantity": 10, "amount": money(100) }],
            "subtotal": money(100),
            "cgst": money(9),
            "sgst": money(9),
            "grandTotal": money(118),
        }),
        DocumentType::Grn => json!({
            "grnNo": format!("GRN-{number:04}"), "date": "2026-04-22", "supplier": "Acme Traders",
            "items": [{ "description": "Paper, A4", "received": 10, "accepted": 9 }],
        }),
        DocumentType::BankStatement => json!({
            "bank": "Bank of Pune", "accountNo": "XXXXXX4711", "closingBalance": money(118),
            "transactions": [{ "date": "2026-04-21", "narration": "NEFT", "debit": money(9) }],
        }),
        DocumentType::AadharCard => json!({
            "name": "Asha Rao", "aadharNo": "XXXX XXXX 4711", "dateOfBirth": "1990-01-01",
        }),
        DocumentType::PanCard => json!({
            "name": "Asha Rao", "panNo": "ABCPR4711K", "dateOfBirth": "1990-01-01",
        }),
        other => json!({ "type": other.as_str(), "text": "a document of another type" }),
    }
}
