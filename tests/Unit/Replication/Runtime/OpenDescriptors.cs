using System.Globalization;
using System.Runtime.InteropServices;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>Descriptors of this process behind which another file is put.</summary>
internal static class OpenDescriptors
{
    /// <summary>
    /// The open descriptor of a file becomes one of another file. An empty file that was opened for reading
    /// refuses every write and has nothing to read.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="directory">Where the empty file may lie.</param>
    /// <param name="with">The other file; the empty one if none is named.</param>
    public static void Break(string path, string directory, string with = "")
    {
        FileAccess access = with == "" ? FileAccess.Read : FileAccess.ReadWrite;
        if (with == "")
        {
            with = Path.Combine(directory, "nothing");
            File.WriteAllBytes(with, []);
        }

        int number = NumberOf(path);
        using FileHandle other = FileHandle.Open(with, access);
        Assert.Equal(number, Exchange(other.Fd, number));
    }

    private static int NumberOf(string path)
    {
        string link = Assert.Single(
            Directory.EnumerateFiles("/proc/self/fd"), link => new FileInfo(link).LinkTarget == path);
        return int.Parse(Path.GetFileName(link), CultureInfo.InvariantCulture);
    }

    [DllImport("libc", EntryPoint = "dup2")]
    private static extern int Exchange(int from, int to);
}
