//! Python pickles without Python: a stack machine that builds plain data and refuses every class it does not know.
//!
//! Nothing is executed. The opcodes are those of protocols 0 to 5 (Python's `pickletools`); of the callables, those by
//! which torch describes tensors and a few inert containers are understood ([`super::rebuild`]).

use super::node::{Node, Nodes, PickleErrorKind, Ref, add};
use super::rebuild;
use std::collections::HashMap;

/// Why a pickle was not read, and at which byte of it.
#[derive(Debug, PartialEq)]
pub struct PickleError {
    pub at: usize,
    pub kind: PickleErrorKind,
}

/// The stack machine.
pub struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    pub nodes: Nodes,
    stack: Vec<Ref>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u64, Ref>,
}

type Result<T> = std::result::Result<T, PickleErrorKind>;

fn malformed<T>(fact: impl Into<String>) -> Result<T> {
    Err(PickleErrorKind::Malformed(fact.into()))
}

impl<'a> Machine<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Machine {
            bytes,
            at: 0,
            nodes: Nodes::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// Reads one pickle; the next one may follow at [`Machine::position`].
    pub fn load(&mut self) -> std::result::Result<Ref, PickleError> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let at = self.at;
            match self.step() {
                Ok(None) => {}
                Ok(Some(value)) => return Ok(value),
                Err(kind) => return Err(PickleError { at, kind }),
            }
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn node(&self, value: Ref) -> &Node {
        &self.nodes[value]
    }

    fn step(&mut self) -> Result<Option<Ref>> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let protocol = self.take(1)?[0];
                if protocol > 5 {
                    return malformed(format!("pickle protocol {protocol}; 0 to 5 are read"));
                }
            }
            0x95 => {
                self.take(8)?; // the length of a frame
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'J' => {
                let v = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(v.into()));
            }
            b'K' => {
                let v = self.take(1)?[0];
                self.push(Node::Int(v.into()));
            }
            b'M' => {
                let v = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(v.into()));
            }
            0x8a => {
                let n = usize::from(self.take(1)?[0]);
                self.long(n)?;
            }
            0x8b => {
                let n = self.length32()?;
                self.long(n)?;
            }
            b'I' => {
                let line = self.line()?;
                match line {
                    "00" => self.push(Node::Bool(false)),
                    "01" => self.push(Node::Bool(true)),
                    _ => self.decimal(line)?,
                }
            }
            b'L' => {
                let line = self.line()?;
                self.decimal(line.trim_end_matches('L'))?;
            }
            b'F' => {
                let line = self.line()?;
                match line.parse() {
                    Ok(v) => self.push(Node::Float(v)),
                    Err(_) => return malformed(format!("`{line}` is no number")),
                }
            }
            b'G' => {
                let v = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(v));
            }
            b'X' => {
                let n = self.length32()?;
                self.text(n)?;
            }
            0x8c => {
                let n = usize::from(self.take(1)?[0]);
                self.text(n)?;
            }
            0x8d => {
                let n = self.length64()?;
                self.text(n)?;
            }
            b'V' => {
                let line = self.line()?.to_string();
                self.push(Node::Text(line));
            }
            b'S' => {
                let line = self.line()?.trim_matches(['\'', '"']).to_string();
                self.push(Node::Text(line));
            }
            b'U' => {
                let n = usize::from(self.take(1)?[0]);
                self.text(n)?;
            }
            b'T' => {
                let n = self.length32()?;
                self.text(n)?;
            }
            b'B' => {
                let n = self.length32()?;
                self.blob(n)?;
            }
            b'C' => {
                let n = usize::from(self.take(1)?[0]);
                self.blob(n)?;
            }
            0x8e | 0x96 => {
                let n = self.length64()?;
                self.blob(n)?;
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let n = usize::from(opcode - 0x84);
                let items = self.pop_many(n)?;
                self.push(Node::Tuple(items));
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items));
            }
            b']' | 0x8f => self.push(Node::List(Vec::new())),
            b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(Node::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = pairs(self.pop_mark()?)?;
                self.push(Node::Dict(items));
            }
            b's' => {
                let items = pairs(self.pop_many(2)?)?;
                self.insert(items)?;
            }
            b'u' => {
                let items = pairs(self.pop_mark()?)?;
                self.insert(items)?;
            }
            b'c' => {
                let module = self.line()?.to_string();
                let name = self.line()?;
                let global = format!("{module}.{name}");
                self.global(global)?;
            }
            0x93 => {
                let names = self.pop_many(2)?;
                match (self.node(names[0]), self.node(names[1])) {
                    (Node::Text(module), Node::Text(name)) => {
                        let global = format!("{module}.{name}");
                        self.global(global)?;
                    }
                    _ => return malformed("the name of a class is no text"),
                }
            }
            b'R' | 0x81 => {
                let call = self.pop_many(2)?;
                let made = rebuild::call(&mut self.nodes, call[0], call[1])?;
                self.stack.push(made);
            }
            0x92 => {
                let call = self.pop_many(3)?;
                let made = rebuild::call(&mut self.nodes, call[0], call[1])?;
                self.stack.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                rebuild::set_state(&mut self.nodes, object, state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = rebuild::storage(&self.nodes, id)?;
                self.push(Node::Storage(storage));
            }
            b'p' => {
                let line = self.line()?;
                let Ok(key) = line.parse() else {
                    return malformed(format!("`{line}` is no place in the memo"));
                };
                self.remember(key)?;
            }
            b'q' => {
                let key = self.take(1)?[0];
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key.into())?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let line = self.line()?;
                let Ok(key) = line.parse() else {
                    return malformed(format!("`{line}` is no place in the memo"));
                };
                self.recall(key)?;
            }
            b'h' => {
                let key = self.take(1)?[0];
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key.into())?;
            }
            other => {
                return Err(PickleErrorKind::Unsupported(format!(
                    "pickle opcode {other:#04x} is not read; save plain tensors, or a dict of them"
                )));
            }
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let found = self.bytes.len() - self.at;
        if found < n {
            return Err(PickleErrorKind::Truncated {
                needs: n as u64,
                found: found as u64,
            });
        }
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn length32(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length64(&mut self) -> Result<usize> {
        let n = u64::from_le_bytes(self.array()?);
        usize::try_from(n).or_else(|_| malformed(format!("a length of {n} bytes")))
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return malformed("a line of the pickle does not end");
        };
        self.at += end + 1;
        match std::str::from_utf8(&rest[..end]) {
            Ok(line) => Ok(line.trim_end_matches('\r')),
            Err(_) => malformed("a line of the pickle is no text"),
        }
    }

    fn decimal(&mut self, line: &str) -> Result<()> {
        match line.parse() {
            Ok(v) => self.push(Node::Int(v)),
            Err(_) => return malformed(format!("`{line}` is no whole number of 64 bits")),
        }
        Ok(())
    }

    /// A little-endian two's complement number of `n` bytes.
    fn long(&mut self, n: usize) -> Result<()> {
        let bytes = self.take(n)?;
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let value = if n <= 8 {
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..n].copy_from_slice(bytes);
            i64::from_le_bytes(wide)
        } else if negative {
            i64::MIN
        } else {
            i64::MAX
        };
        self.push(Node::Int(value));
        Ok(())
    }

    fn text(&mut self, n: usize) -> Result<()> {
        let text = String::from_utf8_lossy(self.take(n)?).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn blob(&mut self, n: usize) -> Result<()> {
        let bytes = self.take(n)?.to_vec();
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    fn global(&mut self, name: String) -> Result<()> {
        if !rebuild::is_known(&name) {
            return Err(PickleErrorKind::Unsupported(format!(
                "the pickle refers to `{name}`, which is not a tensor or plain data and is never run; save plain tensors, or a dict of them"
            )));
        }
        self.push(Node::Global(name));
        Ok(())
    }

    fn push(&mut self, node: Node) {
        let value = add(&mut self.nodes, node);
        self.stack.push(value);
    }

    /// The lowest place of the stack that may be popped: nothing below the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Ref> {
        match self.stack.pop() {
            Some(value) if self.stack.len() >= self.floor() => Ok(value),
            _ => malformed("the pickle takes a value from an empty stack"),
        }
    }

    fn top(&self) -> Result<Ref> {
        match self.stack.last() {
            Some(&value) => Ok(value),
            None => malformed("the pickle takes a value from an empty stack"),
        }
    }

    fn pop_many(&mut self, n: usize) -> Result<Vec<Ref>> {
        match self.stack.len().checked_sub(n) {
            Some(height) if height >= self.floor() => Ok(self.stack.split_off(height)),
            _ => malformed("the pickle takes a value from an empty stack"),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Ref>> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => malformed("the pickle goes back to a mark that was not set"),
        }
    }

    fn append(&mut self, new: Vec<Ref>) -> Result<()> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::List(items) => items.extend(new),
            Node::Object { .. } => {}
            _ => return malformed("the pickle appends to what is no list"),
        }
        Ok(())
    }

    fn insert(&mut self, new: Vec<(Ref, Ref)>) -> Result<()> {
        let dict = self.top()?;
        match &mut self.nodes[dict] {
            Node::Dict(items) => items.extend(new),
            Node::Object { .. } => {}
            _ => return malformed("the pickle adds a key to what is no dict"),
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<()> {
        match self.memo.get(&key) {
            Some(&value) => self.stack.push(value),
            None => return malformed(format!("the pickle recalls memo {key}, which was not set")),
        }
        Ok(())
    }
}

fn pairs(items: Vec<Ref>) -> Result<Vec<(Ref, Ref)>> {
    if !items.len().is_multiple_of(2) {
        return malformed("a dict of the pickle has a key without a value");
    }
    Ok(items
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&[k, v]| (k, v))
        .collect())
}
