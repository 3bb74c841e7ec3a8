namespace Ublk.Tests.Unit.Replication.Crash;

/// <summary>Where the files of crash tests lie: in memory where the system has a place for that.</summary>
internal static class CrashFiles
{
    private const string Memory = "/dev/shm";

    /// <summary>A new directory; whoever asked removes it.</summary>
    public static string NewDirectory()
    {
        string parent = Directory.Exists(Memory) ? Memory : Path.GetTempPath();
        string path = Path.Combine(parent, $"ublk-crash-{Path.GetRandomFileName()}");
        return Directory.CreateDirectory(path).FullName;
    }

    /// <summary>An empty directory in another one.</summary>
    public static string Fresh(string directory, string name)
    {
        string path = Path.Combine(directory, name);
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }

        return Directory.CreateDirectory(path).FullName;
    }
}
