namespace Ublk.Testing;

/// <summary>
/// Measures what a piece of code allocates on its own thread once it is warm. The runtime itself allocates
/// now and then on whatever thread triggers it (a method compiled anew, a type met first), so the measure
/// is the smallest of several runs: what the code allocates by itself shows in all of them.
/// </summary>
public static class Allocation
{
    private const int Attempts = 5;

    /// <summary>Bytes per run in steady state.</summary>
    /// <param name="run">The code; long enough that one allocation per operation would show.</param>
    public static long Steady(Action run)
    {
        long least = long.MaxValue;
        for (int i = 0; i < Attempts && least != 0; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            run();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
