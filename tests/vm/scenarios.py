"""
scenarios: what a machine with otaclient must live through. Each is a list of steps, named by what is true at its end.
The first ones run each time (`ci`), the others with scripts/test --vm.
"""

SCENARIOS = []


def scenario(layout="bios", ci=False, long=False):
    def add(function):
        function.layout, function.ci, function.long = layout, ci, long
        SCENARIOS.append(function)
        return function
    return add


@scenario(ci=True)
def an_update_starts_the_other_slot_and_is_committed(m):
    m.serve("v2")
    m.start()
    m.expect_verdict("INITIALIZED", "", "a")
    m.update("v2")
    m.expect_verdict("SUCCESS", "v2", "b")
    m.expect("the image in the slot that runs", m.shell("cat /etc/image-name").strip(), "v2")
    m.restart()
    m.expect_verdict("SUCCESS", "v2", "b")
    m.expect("all starts", m.starts(), ["a", "b", "b"])


def panics(root):
    """Its first program ends at once, which no kernel lives through."""
    import os
    os.unlink(f"{root}/sbin/init")
    os.symlink("/bin/false", f"{root}/sbin/init")


@scenario(ci=True)
def a_kernel_that_panics_leads_back(m):
    m.serve("panics", panics)
    m.start()
    m.update("panics")
    m.expect_verdict("FAILURE", "", "a", "no sign of life; the last words of its kernel: Kernel panic - .*kill init")
    m.expect("all starts", m.starts(), ["a", "b", "a"])
