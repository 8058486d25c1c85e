"""A whole file as a module: what is in it, whose it is, who may read it. It compares, and changes what differs."""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

__all__ = ["main"]

DOCUMENTATION = """
module: managed_file
short_description: a file with this content, owner and mode
description: As copy and template, which start Python on the host twice for each file; this starts it once.
options:
  path: {type: path, required: true, description: Where.}
  content: {type: str, required: true, description: All that is in it.}
extends_documentation_fragment: [files]
"""


def replace(module: AnsibleModule, path: Path, content: str, attributes: dict[str, object]) -> None:
    """Put a new file in the place of the old one, at once and never readable by more than it should be."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # for its owner only
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        module.set_fs_attributes_if_different({**attributes, "path": temporary}, changed=False)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


def main() -> None:
    """Compare; act, unless in check mode; say what was different."""
    options = {"path": {"type": "path", "required": True}, "content": {"type": "str", "required": True}}
    module = AnsibleModule(options, add_file_common_args=True, supports_check_mode=True)
    path, content = Path(module.params["path"]), module.params["content"]
    attributes = module.load_file_common_arguments(module.params)
    try:
        found = path.read_text("utf-8", errors="replace") if path.exists() else ""
        different = found != content or not path.exists()
        if different and not module.check_mode:
            replace(module, path, content, attributes)
    except OSError as error:
        module.fail_json(msg=f"{path}: {error.strerror}")
    diff: dict[str, object] = {"before": found, "after": content, "before_header": str(path), "after_header": "wanted"}
    attributes_diff: dict[str, object] = {}
    changed = module.set_fs_attributes_if_different(attributes, different, diff=attributes_diff)
    module.exit_json(changed=changed, diff=[diff, attributes_diff])


if __name__ == "__main__":
    main()
