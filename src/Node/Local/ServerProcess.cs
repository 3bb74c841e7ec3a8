namespace Ublk.Node.Local;

/// <summary>Looks at another process.</summary>
internal static class ServerProcess
{
    /// <summary>
    /// Whether a process runs; one that was killed and is still on its way out (zombie, dead) does not.
    /// Source: proc_pid_stat(5): the state is the first word behind the name in parentheses.
    /// </summary>
    /// <param name="pid">Process; below 1 is none.</param>
    public static bool IsAlive(int pid)
    {
        if (pid < 1)
        {
            return false;
        }

        try
        {
            string stat = File.ReadAllText($"/proc/{pid}/stat");
            char state = stat[stat.LastIndexOf(')') + 2];
            return state is not ('Z' or 'X');
        }
        catch (IOException)
        {
            return false;
        }
    }
}
