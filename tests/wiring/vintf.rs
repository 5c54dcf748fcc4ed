// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The manifest fragment and the matrix entry, after the rules of libvintf's documentation.

use regex::Regex;
use roxmltree::{Document, Node};

use crate::blueprint::Blueprints;
use crate::repository::{read, INSTANCE};

const MANIFEST: &str = "vintf/vendor.berth.allocator.xml";
const MATRIX: &str = "vintf/vendor.berth.allocator.compatibility_matrix.xml";

/// Gives the one HAL of a file to a check, after checking the element around it.
fn with_hal<T>(path: &str, root: &str, kind: &str, check: impl Fn(Node) -> T) -> T {
    let text = read(path);
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let outer = document.root_element();
    assert_eq!((outer.tag_name().name(), outer.attribute("type")), (root, Some(kind)));
    assert_eq!(outer.attribute("version"), Some("1.0"), "the schema's version");
    let hals = elements(outer);
    let [hal] = hals[..] else { panic!("{path}: {} elements, not one hal", hals.len()) };
    assert_eq!((hal.tag_name().name(), hal.attribute("format")), ("hal", Some("aidl")));
    check(hal)
}

fn elements<'a, 'input>(node: Node<'a, 'input>) -> Vec<Node<'a, 'input>> {
    node.children().filter(Node::is_element).collect()
}

/// The texts of an element's children, which must have exactly these names in this order.
fn texts<const N: usize>(node: Node, names: [&str; N]) -> [String; N] {
    let children = elements(node);
    let found: Vec<&str> = children.iter().map(|child| child.tag_name().name()).collect();
    assert_eq!(found, names, "the children of {}", node.tag_name().name());
    std::array::from_fn(|at| children[at].text().unwrap_or_default().to_string())
}

#[test]
fn the_manifest_fragment_declares_the_instance() {
    with_hal(MANIFEST, "manifest", "device", |hal| {
        // No transport and no interface element: an AIDL HAL has neither.
        let [name, version, fqname] = texts(hal, ["name", "version", "fqname"]);
        assert_eq!(format!("{name}.{fqname}"), INSTANCE);
        assert!(Regex::new(r"^[1-9]\d*$").unwrap().is_match(&version), "{version:?}");
        assert!(Regex::new(r"^I\w+/\w+$").unwrap().is_match(&fqname), "{fqname:?}");
    });
}

#[test]
fn the_matrix_knows_the_instance_and_does_not_require_it() {
    with_hal(MATRIX, "compatibility-matrix", "framework", |hal| {
        assert_eq!(hal.attribute("optional"), Some("true"));
        let [name, version, _] = texts(hal, ["name", "version", "interface"]);
        let [interface, instance] = texts(elements(hal)[2], ["name", "instance"]);
        assert_eq!(format!("{name}.{interface}/{instance}"), INSTANCE);
        assert!(Regex::new(r"^[1-9]\d*(-[1-9]\d*)?$").unwrap().is_match(&version), "{version:?}");
    });
}

#[test]
fn manifest_matrix_and_linked_library_have_one_version() {
    let manifest = with_hal(MANIFEST, "manifest", "device", |hal| {
        texts(hal, ["name", "version", "fqname"])[1].clone()
    });
    let matrix = with_hal(MATRIX, "compatibility-matrix", "framework", |hal| {
        texts(hal, ["name", "version", "interface"])[1].clone()
    });
    let (least, most) = matrix.split_once('-').unwrap_or((&matrix, &matrix));
    let number = |text: &str| text.parse::<u32>().unwrap();
    assert!((number(least)..=number(most)).contains(&number(&manifest)), "{manifest}, {matrix}");
    let library = format!("vendor.berth.allocator-V{manifest}-rust");
    assert!(Blueprints::load().module("libberth_service").list("rustlibs").contains(&library));
}
