//! The result of an invoice.

use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::{RawJson, result::Fields};

/// The result of a document of type `invoice`, as the vendor publishes it.
///
/// Everything is optional. A field that the vendor does not publish, or whose type differs from the published one, is in
/// [`other`](Self::other). Read an invoice with [`RawJson::parse`]. It can be read only from JSON.
///
/// # Example
///
/// ```
/// use number7_client::{Invoice, RawJson};
///
/// let result: RawJson = serde_json::from_str(
///     r#"{"vendor":{"name":"Acme"},"invoiceNo":"A-17","grandTotal":1180.00,"paid":true}"#,
/// )?;
/// let invoice: Invoice = result.parse()?;
/// assert_eq!(invoice.vendor.and_then(|vendor| vendor.name).as_deref(), Some("Acme"));
/// assert_eq!(invoice.grand_total.map(|total| total.to_string()).as_deref(), Some("1180.00"));
/// assert_eq!(invoice.other["paid"].get(), "true");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invoice {
    /// `vendor`: the sender of the invoice.
    pub vendor: Option<Vendor>,
    /// `invoiceNo`
    pub invoice_no: Option<String>,
    /// `date`: as the vendor read it. The vendor publishes no format.
    pub date: Option<String>,
    /// `lineItems`. The vendor publishes no schema for an item, only an example with `description`, `qty`,
    /// `unitPrice` and `total`.
    pub line_items: Vec<RawJson>,
    /// `subtotal`
    pub subtotal: Option<Amount>,
    /// `cgst`: central goods and services tax.
    pub cgst: Option<Amount>,
    /// `sgst`: state goods and services tax.
    pub sgst: Option<Amount>,
    /// `grandTotal`
    pub grand_total: Option<Amount>,
    /// All other fields.
    pub other: std::collections::BTreeMap<String, RawJson>,
}

/// The sender of an [`Invoice`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vendor {
    /// `name`
    pub name: Option<String>,
    /// `gstin`: its number for goods and services tax.
    pub gstin: Option<String>,
    /// All other fields.
    pub other: std::collections::BTreeMap<String, RawJson>,
}

/// An amount of money, with exactly the digits that the vendor sent: `1180.00` stays `1180.00`. It can be sent as a number or
/// as a string, even with separators, such as `"1,180.00"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount(Box<str>);

impl Amount {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Invoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut other = Fields::deserialize(deserializer)?;
        Ok(Self {
            vendor: take(&mut other, "vendor", |json| json.parse().ok()),
            invoice_no: take(&mut other, "invoiceNo", text),
            date: take(&mut other, "date", text),
            line_items: take(&mut other, "lineItems", |json| json.parse().ok()).unwrap_or_default(),
            subtotal: take(&mut other, "subtotal", amount),
            cgst: take(&mut other, "cgst", amount),
            sgst: take(&mut other, "sgst", amount),
            grand_total: take(&mut other, "grandTotal", amount),
            other,
        })
    }
}

impl<'de> Deserialize<'de> for Vendor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut other = Fields::deserialize(deserializer)?;
        Ok(Self {
            name: take(&mut other, "name", text),
            gstin: take(&mut other, "gstin", text),
            other,
        })
    }
}

/// Takes a field if it has the published type. Otherwise leaves it.
fn take<T>(fields: &mut Fields, name: &str, read: impl Fn(&RawJson) -> Option<T>) -> Option<T> {
    let value = read(fields.get(name)?)?;
    fields.remove(name);
    Some(value)
}

/// A string. A number is also accepted if it is a name, such as the number of an invoice.
fn text(json: &RawJson) -> Option<String> {
    match json.get().as_bytes().first()? {
        b'"' => json.parse().ok(),
        b'-' | b'0'..=b'9' => Some(json.get().to_owned()),
        _ => None,
    }
}

fn amount(json: &RawJson) -> Option<Amount> {
    text(json).map(|text| Amount(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoice(json: &str) -> Invoice {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_amount_loses_no_digit() {
        for (sent, kept) in [
            ("118000000000000000000.10", "118000000000000000000.10"),
            ("0.1000", "0.1000"),
            ("-1e3", "-1e3"),
            (r#""1,180.00""#, "1,180.00"),
        ] {
            let invoice = invoice(&format!(r#"{{"grandTotal":{sent}}}"#));
            assert_eq!(invoice.grand_total.unwrap().as_str(), kept);
        }
    }

    #[test]
    fn every_published_field_is_read() {
        let invoice = invoice(
            r#"{"vendor":{"name":"Acme","gstin":"29A"},"invoiceNo":"A-17","date":"2026-04-01",
                "lineItems":[{"description":"Bolt","qty":4,"unitPrice":25,"total":100}],
                "subtotal":100,"cgst":9,"sgst":9,"grandTotal":118}"#,
        );
        let vendor = invoice.vendor.unwrap();
        let texts = [vendor.name, vendor.gstin, invoice.invoice_no, invoice.date];
        assert_eq!(texts.map(Option::unwrap), ["Acme", "29A", "A-17", "2026-04-01"]);
        let amounts = [invoice.subtotal, invoice.cgst, invoice.sgst, invoice.grand_total];
        assert_eq!(amounts.map(|amount| amount.unwrap().to_string()), ["100", "9", "9", "118"]);
        let items: Vec<_> = invoice.line_items.iter().map(RawJson::get).collect();
        assert_eq!(items, [r#"{"description":"Bolt","qty":4,"unitPrice":25,"total":100}"#]);
        assert!(invoice.other.is_empty() && vendor.other.is_empty());
    }

    #[test]
    fn what_is_not_published_is_kept() {
        let invoice = invoice(
            r#"{"vendor":{"name":"A","gstin":null,"city":"Pune"},"invoiceNo":17,"date":null,
                "lineItems":[{"qty":1.50},7],"subtotal":{"value":1},"note":"x"}"#,
        );
        let vendor = invoice.vendor.unwrap();
        assert_eq!((vendor.name.as_deref(), vendor.gstin), (Some("A"), None));
        assert_eq!(vendor.other["city"].get(), r#""Pune""#);
        assert_eq!(invoice.invoice_no.as_deref(), Some("17"));
        assert_eq!(invoice.line_items[0].get(), r#"{"qty":1.50}"#);
        assert_eq!(invoice.subtotal, None);
        let other: Vec<_> =
            invoice.other.iter().map(|(name, json)| (&**name, json.get())).collect();
        assert_eq!(other, [("date", "null"), ("note", r#""x""#), ("subtotal", r#"{"value":1}"#)]);
    }
}
