"""What vCenter's faults are to us, and what of them people read."""

from pyVmomi import vim

from portlayer.errors import NotFound, Reason, ResourceExhausted
from portlayer.vsphere.faults import to_error


def test_a_fault_of_a_file_names_it() -> None:
    gone = to_error(vim.fault.FileNotFound(file="[LocalDS_0] web.vmdk"))
    assert isinstance(gone, NotFound)
    assert gone.reason is Reason.PLATFORM_OBJECT_NOT_FOUND
    assert gone.message == "vCenter: FileNotFound: [LocalDS_0] web.vmdk"
    full = to_error(vim.fault.NoDiskSpace(file="[LocalDS_0] web.vmdk", datastore="LocalDS_0"))
    assert isinstance(full, ResourceExhausted)
    assert full.message == "vCenter: NoDiskSpace: [LocalDS_0] web.vmdk"
