//! The check itself: links in, breaks out, without a database.

use std::collections::BTreeMap;

use super::{Break, Fault, Head, Link, Report, Step, content_checksum, link_checksum};

/// Checks a trail that is walked through once, and, where a link does not follow the one
/// before it, once more, to tell a gap from another order.
#[derive(Debug, Default)]
pub struct Verifier {
    links: u64,
    heads: BTreeMap<Option<String>, (i64, String)>,
    /// Ends that were noted before, by their place.
    noted: BTreeMap<i64, Head>,
    trusts_beginning: bool,
    breaks: Vec<Break>,
    more_breaks: u64,
    /// Where the link with this checksum stands, once it is known.
    sought: BTreeMap<(Option<String>, String), Option<i64>>,
    /// Which breaks wait for the place of which link.
    waiting: Vec<(usize, (Option<String>, String))>,
}

impl Verifier {
    /// The most breaks that are told one by one.
    pub const MOST: usize = 1000;

    /// Checks, too, that each of `noted` is still in its chain.
    #[must_use]
    pub fn expecting(noted: impl IntoIterator<Item = Head>) -> Self {
        let noted = noted.into_iter().map(|head| (head.chain_seq, head)).collect();
        Self { noted, ..Self::default() }
    }

    /// Takes the first link of each chain for its beginning, whatever it says of one
    /// before it: the oldest entries are removed on purpose (retention).
    #[must_use]
    pub const fn trusting_beginning(mut self) -> Self {
        self.trusts_beginning = true;
        self
    }

    /// Looks at the next step of the walk.
    pub fn see(&mut self, step: Step) {
        match step {
            Step::Link(link) => self.see_link(*link),
            Step::Unchained { entry_id, org } => {
                self.add(Break {
                    org,
                    chain_seq: None,
                    entry: Some(entry_id),
                    fault: Fault::Unchained,
                });
            }
        }
    }

    fn see_link(&mut self, link: Link) {
        self.links += 1;
        let fault = match &link.entry {
            None => Some(Fault::Missing),
            Some(entry) => {
                let content = content_checksum(entry);
                let is_sealed = content == link.content
                    && entry.checksum.as_deref().is_none_or(|beside| beside == content);
                if !is_sealed {
                    Some(Fault::Altered)
                } else if entry.org != link.org {
                    Some(Fault::Moved)
                } else {
                    None
                }
            }
        };
        if let Some(fault) = fault {
            self.add(at(&link, fault));
        }
        if link_checksum(link.prev.as_deref(), &link.content) != link.chain {
            self.add(at(&link, Fault::LinkAltered));
        }
        self.see_place(&link);
        if self
            .noted
            .get(&link.seq)
            .is_some_and(|head| head.org == link.org && head.chain_checksum == link.chain)
        {
            self.noted.remove(&link.seq);
        }
        self.heads.insert(link.org, (link.seq, link.chain));
    }

    fn see_place(&mut self, link: &Link) {
        let before = self.heads.get(&link.org);
        let follows = match before {
            Some((_, head)) => link.prev.as_ref() == Some(head),
            None => link.prev.is_none() || self.trusts_beginning,
        };
        if follows {
            return;
        }
        let after = before.map(|(seq, _)| *seq);
        let Some(prev) = &link.prev else {
            self.add(at(link, Fault::Reordered { belongs_after: None }));
            return;
        };
        let (index, sought) = (self.breaks.len(), (link.org.clone(), prev.clone()));
        if self.add(at(link, Fault::Gap { after })) {
            self.sought.insert(sought.clone(), None);
            self.waiting.push((index, sought));
        }
    }

    /// Whether the links are to be walked through once more.
    #[must_use]
    pub fn seeks(&self) -> bool {
        !self.sought.is_empty()
    }

    /// Looks at a step of the second walk.
    pub fn seek(&mut self, step: &Step) {
        if let Step::Link(link) = step
            && let Some(place) = self.sought.get_mut(&(link.org.clone(), link.chain.clone()))
        {
            *place = Some(link.seq);
        }
    }

    /// What was found.
    #[must_use]
    pub fn report(mut self) -> Report {
        for (index, sought) in std::mem::take(&mut self.waiting) {
            if let Some(Some(place)) = self.sought.get(&sought) {
                self.breaks[index].fault = Fault::Reordered { belongs_after: Some(*place) };
            }
        }
        for (_, head) in std::mem::take(&mut self.noted) {
            self.add(Break {
                org: head.org,
                chain_seq: Some(head.chain_seq),
                entry: None,
                fault: Fault::End,
            });
        }
        let head = |(org, (chain_seq, chain_checksum))| Head { org, chain_seq, chain_checksum };
        Report {
            links: self.links,
            breaks: self.breaks,
            more_breaks: self.more_breaks,
            heads: self.heads.into_iter().map(head).collect(),
        }
    }

    /// Answers whether it is among those that are told.
    fn add(&mut self, found: Break) -> bool {
        let has_room = self.breaks.len() < Self::MOST;
        if has_room {
            self.breaks.push(found);
        } else {
            self.more_breaks += 1;
        }
        has_room
    }
}

fn at(link: &Link, fault: Fault) -> Break {
    Break {
        org: link.org.clone(),
        chain_seq: Some(link.seq),
        entry: Some(link.entry_id.clone()),
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Entry, *};

    /// Links of one organisation, whole.
    fn chain(org: Option<&str>, length: i64) -> Vec<Link> {
        let org = org.map(str::to_owned);
        let mut prev = None;
        let link = |n: i64| {
            let mut entry = Entry {
                id: format!("e{n}"),
                org: org.clone(),
                actor_type: "system".to_owned(),
                actor_id: "nobody".to_owned(),
                action: format!("action {n}"),
                resource_type: "key".to_owned(),
                resource_id: None,
                result: "success".to_owned(),
                details: None,
                timestamp: "2026-11-24T17:00:00.000000Z".to_owned(),
                checksum: None,
            };
            let content = content_checksum(&entry);
            entry.checksum = Some(content.clone());
            let chain = link_checksum(prev.as_deref(), &content);
            let prev = prev.replace(chain.clone());
            Link {
                seq: n,
                entry_id: entry.id.clone(),
                org: org.clone(),
                content,
                prev,
                chain,
                entry: Some(entry),
            }
        };
        (1..=length).map(link).collect()
    }

    fn check(mut verifier: Verifier, links: &[Link]) -> Vec<(Option<i64>, Fault)> {
        let steps: Vec<_> = links.iter().cloned().map(|link| Step::Link(Box::new(link))).collect();
        steps.iter().cloned().for_each(|step| verifier.see(step));
        steps.iter().for_each(|step| verifier.seek(step));
        let breaks = verifier.report().breaks;
        breaks.into_iter().map(|found| (found.chain_seq, found.fault)).collect()
    }

    #[test]
    fn a_whole_chain_has_no_break_and_its_head_is_its_last_link() {
        let links = chain(Some("o"), 5);
        assert_eq!(check(Verifier::default(), &links), []);
        let mut verifier = Verifier::default();
        links.iter().cloned().for_each(|link| verifier.see(Step::Link(Box::new(link))));
        let heads = verifier.report().heads;
        assert_eq!(heads[0].chain_checksum, links[4].chain);
        assert_eq!(check(Verifier::expecting(heads.clone()), &links), []);
        assert_eq!(check(Verifier::expecting(heads), &links[..4]), [(Some(5), Fault::End)]);
    }

    #[test]
    fn each_kind_of_break_is_told_where_it_is() {
        let whole = chain(None, 5);
        let broken = |break_it: &dyn Fn(&mut Vec<Link>)| {
            let mut links = whole.clone();
            break_it(&mut links);
            check(Verifier::default(), &links)
        };
        assert_eq!(broken(&|links| links[2].entry = None), [(Some(3), Fault::Missing)]);
        let alter = |links: &mut Vec<Link>| {
            links[1].entry.as_mut().unwrap().action = "another".to_owned();
        };
        assert_eq!(broken(&alter), [(Some(2), Fault::Altered)]);
        let moved = |links: &mut Vec<Link>| {
            links[1].entry.as_mut().unwrap().org = Some("o".to_owned());
        };
        assert_eq!(broken(&moved), [(Some(2), Fault::Moved)]);
        assert_eq!(
            broken(&|links| drop(links.remove(2))),
            [(Some(4), Fault::Gap { after: Some(2) })]
        );
        assert_eq!(broken(&|links| drop(links.remove(0))), [(Some(2), Fault::Gap { after: None })]);
        let swap = |links: &mut Vec<Link>| {
            links.swap(2, 3);
            (links[2].seq, links[3].seq) = (3, 4);
        };
        let after = |seq| Fault::Reordered { belongs_after: Some(seq) };
        assert_eq!(broken(&swap), [(Some(3), after(4)), (Some(4), after(2)), (Some(5), after(3))]);
        let forge = |links: &mut Vec<Link>| links[4].chain = "forged".to_owned();
        assert_eq!(broken(&forge), [(Some(5), Fault::LinkAltered)]);
    }

    #[test]
    fn chains_of_two_organisations_do_not_disturb_each_other() {
        let mut links = Vec::new();
        for (mut one, mut two) in chain(Some("a"), 3).into_iter().zip(chain(None, 3)) {
            (one.seq, two.seq) = (one.seq * 2, two.seq * 2 + 1);
            links.extend([one, two]);
        }
        assert_eq!(check(Verifier::default(), &links), []);
    }

    #[test]
    fn a_beginning_that_was_removed_on_purpose_is_trusted_only_when_told_so() {
        let rest = &chain(None, 4)[2..];
        assert_eq!(check(Verifier::default(), rest), [(Some(3), Fault::Gap { after: None })]);
        assert_eq!(check(Verifier::default().trusting_beginning(), rest), []);
    }
}
