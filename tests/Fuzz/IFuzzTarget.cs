namespace Ublk.Tests.Fuzz;

/// <summary>A parser, and what must hold whatever bytes it is given.</summary>
internal interface IFuzzTarget
{
    /// <summary>Gives it an input.</summary>
    /// <param name="input">Any bytes.</param>
    /// <exception cref="FuzzFailure">Something does not hold. Other exceptions are finds too.</exception>
    void Run(byte[] input);

    /// <summary>Inputs to begin with: small, and each of another kind.</summary>
    IEnumerable<(string Name, byte[] Bytes)> Seeds();
}

/// <summary>Something does not hold.</summary>
/// <param name="message">What.</param>
internal sealed class FuzzFailure(string message) : Exception(message)
{
    public static void Unless(bool holds, string what)
    {
        if (!holds)
        {
            throw new FuzzFailure(what);
        }
    }

    /// <summary>Holds what was allocated since against a limit.</summary>
    /// <param name="before">Bytes that this thread had allocated before.</param>
    /// <param name="limitBytes">Most that may have come since.</param>
    public static void UnlessAllocated(long before, long limitBytes)
    {
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Unless(allocated <= limitBytes, $"{allocated} bytes allocated, {limitBytes} at most");
    }
}
