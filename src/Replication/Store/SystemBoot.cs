using Ublk.Uring;

namespace Ublk.Replication.Store;

/// <summary>What must not have changed for memory to count: the start of the machine, and the disk.</summary>
public static class SystemBoot
{
    private const string BootIdPath = "/proc/sys/kernel/random/boot_id";

    /// <summary>Boot id and backing device of an image, as of now.</summary>
    /// <param name="image">Path of the image; where it is missing, the device counts as none.</param>
    /// <exception cref="IOException">The system does not tell its boot id.</exception>
    public static BootEntry Of(string image) => new(
        Guid.Parse(File.ReadAllText(BootIdPath).Trim()),
        File.Exists(image) ? BlockImage.BackingInstanceOf(image) : 0);
}
