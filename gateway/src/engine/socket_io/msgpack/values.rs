//! The values of MessagePack, one after the other, out of what a stranger sent. Pure.
//!
//! Nothing is taken for there because it was announced: a value is what its bytes are.

use rmp::Marker;

/// What `notepack.io`, which the official clients write with, calls what MessagePack has no name for.
const NOTEPACK: i8 = 0;

/// A value, or the head of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Item<'a> {
    Null,
    /// What JavaScript has for what is not there.
    Undefined,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Milliseconds since 1970.
    Date(i64),
    /// So many values follow.
    List(u32),
    /// So many keys follow, each with its value.
    Map(u32),
}

/// What has not been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Items<'a>(pub(super) &'a [u8]);

impl<'a> Items<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value; `None` = there is none that can be understood.
    pub(super) fn next(&mut self) -> Option<Item<'a>> {
        let [marker] = self.array()?;
        Some(match Marker::from_u8(marker) {
            Marker::Null => Item::Null,
            Marker::False => Item::Bool(false),
            Marker::True => Item::Bool(true),
            Marker::FixPos(number) => Item::Unsigned(number.into()),
            Marker::U8 => Item::Unsigned(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Item::Unsigned(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Item::Unsigned(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Item::Unsigned(u64::from_be_bytes(self.array()?)),
            Marker::FixNeg(number) => signed(number.into()),
            Marker::I8 => signed(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => signed(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => signed(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => signed(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Item::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Item::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(length) => self.text(length.into())?,
            Marker::Str8 => {
                let length = self.short()?;
                self.text(length)?
            }
            Marker::Str16 => {
                let length = self.middle()?;
                self.text(length)?
            }
            Marker::Str32 => {
                let length = self.long()?;
                self.text(length)?
            }
            Marker::Bin8 => {
                let length = self.short()?;
                Item::Bytes(self.take(length)?)
            }
            Marker::Bin16 => {
                let length = self.middle()?;
                Item::Bytes(self.take(length)?)
            }
            Marker::Bin32 => {
                let length = self.long()?;
                Item::Bytes(self.take(length)?)
            }
            Marker::FixArray(count) => Item::List(count.into()),
            Marker::Array16 => Item::List(self.middle()?),
            Marker::Array32 => Item::List(self.long()?),
            Marker::FixMap(count) => Item::Map(count.into()),
            Marker::Map16 => Item::Map(self.middle()?),
            Marker::Map32 => Item::Map(self.long()?),
            Marker::FixExt1 => {
                let [_] = self.extension()?;
                Item::Undefined
            }
            Marker::FixExt8 => Item::Date(i64::from_be_bytes(self.extension()?)),
            Marker::Ext8 => {
                let length = self.short()?;
                self.buffer(length)?
            }
            Marker::Ext16 => {
                let length = self.middle()?;
                self.buffer(length)?
            }
            Marker::Ext32 => {
                let length = self.long()?;
                self.buffer(length)?
            }
            // Nobody says what they mean.
            Marker::FixExt2 | Marker::FixExt4 | Marker::FixExt16 | Marker::Reserved => return None,
        })
    }

    fn short(&mut self) -> Option<u32> {
        Some(u8::from_be_bytes(self.array()?).into())
    }

    fn middle(&mut self) -> Option<u32> {
        Some(u16::from_be_bytes(self.array()?).into())
    }

    fn long(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.array()?))
    }

    fn text(&mut self, length: u32) -> Option<Item<'a>> {
        std::str::from_utf8(self.take(length)?).ok().map(Item::Text)
    }

    /// An `ArrayBuffer` of Node.js.
    fn buffer(&mut self, length: u32) -> Option<Item<'a>> {
        self.expect_notepack()?;
        self.take(length).map(Item::Bytes)
    }

    fn extension<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.expect_notepack()?;
        self.array()
    }

    fn expect_notepack(&mut self) -> Option<()> {
        (i8::from_be_bytes(self.array()?) == NOTEPACK).then_some(())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn take(&mut self, length: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

fn signed(number: i64) -> Item<'static> {
    u64::try_from(number).map_or(Item::Negative(number), Item::Unsigned)
}
