"""
document: the commands of docs/install.md, as a machine can run them.

A comment `<!-- vm: SECTION LAYOUT... -->` stands before each block of commands there that the harness runs. What a
reader would change is changed here, and nothing else: the names of disk, addresses and files, and how large it all is.
"""

import os
import re

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/install.md")

# In the document, and for this machine: a disk of QEMU's, and small.
CHANGES = [
    ("/dev/sda", "/dev/vda"),
    (",1G,L", ",192M,L"),
    (",512M,U", ",64M,U"),
    (",20G,L", ",900M,L"),
]


def commands(section, layout):
    """All blocks of a section for "bios" or "uefi", as one script."""
    with open(PATH, encoding="utf-8") as f:
        text = f.read()
    script = []
    for marks, block in re.findall(r"^<!-- vm: (.+) -->\n((?:    .*\n)+)", text, re.M):
        name, *layouts = marks.split()
        if name == section and layout in layouts:
            script.append(re.sub(r"^    ", "", block, flags=re.M))
    if not script:
        raise ValueError(f"docs/install.md has no commands of section {section} for {layout}")
    text = "".join(script)
    for old, new in CHANGES:
        text = text.replace(old, new)
    return text
