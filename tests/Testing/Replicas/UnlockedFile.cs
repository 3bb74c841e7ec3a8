using Ublk.Uring.Native;

namespace Ublk.Testing.Replicas;

/// <summary>
/// Reads files without a look at their locks: a process that is just being forked holds those of this one for
/// a moment, also of files that are closed here already.
/// </summary>
internal static class UnlockedFile
{
    /// <summary>All bytes of a file.</summary>
    /// <param name="path">Its path.</param>
    public static byte[] ReadAll(string path)
    {
        using FileHandle file = FileHandle.Open(path, FileAccess.Read);
        byte[] bytes = new byte[new FileInfo(path).Length];
        for (int done = 0; done < bytes.Length;)
        {
            int count = file.ReadAt(bytes.AsSpan(done), done);
            if (count <= 0)
            {
                throw new IOException($"{path} ends at {done} of {bytes.Length} bytes: {count}");
            }

            done += count;
        }

        return bytes;
    }
}
