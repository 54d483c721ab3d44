use std::{borrow::Cow, fmt};

/// Declares an enum with the names that the vendor has published, and `Other` for all others.
macro_rules! published_names {
    (
        $(#[$enum_doc:meta])*
        pub enum $Enum:ident {
            $( $(#[$doc:meta])* $Variant:ident = $name:literal, )+
        }
    ) => {
        $(#[$enum_doc])*
        ///
        /// The vendor may add names at any time. A name unknown to this version is `Other`, as it was
        /// sent. A later version may give it a variant of its own, so compare such names by `as_str`.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $Enum {
            $( $(#[$doc])* #[doc = concat!("`", $name, "`")] $Variant, )+
            /// A name that this version does not know.
            Other(OtherName),
        }

        impl $Enum {
            /// The name as the vendor spells it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$Variant => $name, )+
                    Self::Other(name) => name.as_str(),
                }
            }
        }

        impl From<Cow<'_, str>> for $Enum {
            fn from(name: Cow<'_, str>) -> Self {
                match &*name {
                    $( $name => Self::$Variant, )+
                    _ => Self::Other(OtherName(name.into())),
                }
            }
        }

        impl From<&str> for $Enum {
            fn from(name: &str) -> Self {
                Cow::Borrowed(name).into()
            }
        }

        impl From<String> for $Enum {
            fn from(name: String) -> Self {
                Cow::<str>::Owned(name).into()
            }
        }

        impl AsRef<str> for $Enum {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $Enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.as_str().fmt(f)
            }
        }
    };
}

/// A name that this version does not know, as it was sent.
///
/// Only reading makes one, so it is never a name that has its own variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtherName(Box<str>);

impl OtherName {
    /// The name as the vendor spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

published_names! {
    /// The status of a job's file.
    pub enum FileStatus {
        /// Terminal: processed.
        Done = "done",
        /// Terminal: could not be processed.
        Failed = "failed",
        /// Before a terminal status:
        Uploading = "uploading",
        /// Before a terminal status:
        Processing = "processing",
        /// Before a terminal status:
        Scanning = "scanning",
        /// Before a terminal status:
        AiProcessing = "ai_processing",
    }
}

published_names! {
    /// The type of a job's document.
    pub enum DocumentType {
        /// An invoice.
        Invoice = "invoice",
        /// A goods received note.
        Grn = "grn",
        /// A bank statement.
        BankStatement = "bank_statement",
        /// An Aadhaar card.
        AadharCard = "aadhar_card",
        /// A PAN card.
        PanCard = "pan_card",
    }
}
