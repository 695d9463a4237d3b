//! JSON pointers (RFC 6901), followed as far as a binding asks for them. No document is built.

use std::collections::HashMap;

/// The pointers as a tree, so that one walk serves them all, and where in it the value at hand is.
#[derive(Debug)]
pub(crate) struct PointerPath {
    tree: PointerTree,
    stack: Vec<OpenValue>,
    /// The name being read, escapes and all; cut where it is longer than any that matters.
    name: Vec<u8>,
    here: Option<usize>,
}

#[derive(Debug)]
struct OpenValue {
    /// The index of the element at hand; `None` in an object.
    index: Option<u64>,
    node: Option<usize>,
}

impl PointerPath {
    /// `None` where no pointer asks for anything.
    pub fn new<'p>(pointers: impl Iterator<Item = &'p str>) -> Option<Self> {
        let tree = PointerTree::new(pointers);
        let asked = tree.nodes.len() > 1;
        asked.then(|| Self { tree, stack: Vec::new(), name: Vec::new(), here: Some(PointerTree::ROOT) })
    }

    /// The pointer of the value at hand.
    pub fn pointer(&self) -> Option<&str> {
        self.tree.nodes.get(self.here?)?.pointer.as_deref()
    }

    /// An array or object begins.
    pub fn open(&mut self, array: bool) {
        let node = self.here.take();
        self.stack.push(OpenValue { index: array.then_some(0), node });
        if array {
            self.here = self.tree.element(node, 0);
        }
    }

    /// The next element begins; in an object its name is told by [`Self::name`].
    pub fn comma(&mut self) {
        let Some(OpenValue { index: Some(index), node }) = self.stack.last_mut() else { return };
        *index += 1;
        self.here = self.tree.element(*node, *index);
    }

    /// More of a name, as it is written.
    pub fn name(&mut self, part: &[u8]) {
        let room = (self.tree.longest + 1).saturating_sub(self.name.len());
        self.name.extend(part.iter().take(room));
    }

    /// The name has ended, and its value begins.
    pub fn close_name(&mut self) {
        let parent = self.stack.last().and_then(|frame| frame.node);
        // it ends with its closing quote, unless it was cut
        let name = || serde_json::from_slice::<String>(&[b"\"", &self.name[..]].concat()).ok();
        self.here = parent.and_then(|_| name()).and_then(|name| self.tree.child(parent, &name));
        self.name.clear();
    }

    /// An array or object has ended.
    pub fn close(&mut self) {
        self.stack.pop();
    }

    /// A text has ended; another may follow.
    pub fn end(&mut self) {
        self.here = Some(PointerTree::ROOT);
    }

    /// How much of a name is kept, in bytes.
    #[cfg(test)]
    pub fn name_len(&self) -> usize {
        self.name.len()
    }
}

#[derive(Debug)]
struct PointerTree {
    nodes: Vec<PointerNode>,
    /// The longest name in any of them, escaped in the most verbose way.
    longest: usize,
}

#[derive(Debug, Default)]
struct PointerNode {
    children: HashMap<String, usize>,
    /// The pointer that ends here.
    pointer: Option<String>,
}

impl PointerTree {
    const ROOT: usize = 0;

    fn new<'p>(pointers: impl Iterator<Item = &'p str>) -> Self {
        let mut tree = Self { nodes: vec![PointerNode::default()], longest: 0 };
        for pointer in pointers {
            let mut at = Self::ROOT;
            for token in pointer.split('/').skip(1) {
                let name = token.replace("~1", "/").replace("~0", "~");
                tree.longest = tree.longest.max(name.len() * 6);
                at = tree.child_or_new(at, name);
            }
            tree.nodes[at].pointer = Some(pointer.to_string());
        }
        tree
    }

    fn child_or_new(&mut self, at: usize, name: String) -> usize {
        let new = self.nodes.len();
        let child = *self.nodes[at].children.entry(name).or_insert(new);
        if child == new {
            self.nodes.push(PointerNode::default());
        }
        child
    }

    fn child(&self, at: Option<usize>, name: &str) -> Option<usize> {
        self.nodes.get(at?)?.children.get(name).copied()
    }

    fn element(&self, at: Option<usize>, index: u64) -> Option<usize> {
        at.and_then(|at| self.child(Some(at), &index.to_string()))
    }
}
