//! `shardwright-handmade-guests WIT WORLD`: reads a core module as text, writes the component that it makes in that world of the
//! folder. Without arguments the text is a component's already.

use std::io::{self, Read, Write};

use anyhow::Result;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut bytes = wat::parse_str(&text)?;
    let mut arguments = std::env::args().skip(1);
    if let (Some(wit), Some(world)) = (arguments.next(), arguments.next()) {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(&wit)?;
        let world = resolve.select_world(&[package], Some(&world))?;
        embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
        bytes = ComponentEncoder::default().module(&bytes)?.encode()?;
    }
    io::stdout().write_all(&bytes)?;
    Ok(())
}
