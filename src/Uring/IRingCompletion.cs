using Ublk.Uring.Abi;

namespace Ublk.Uring;

/// <summary>Receives the completions of what it submitted, on the loop's thread.</summary>
public interface IRingCompletion
{
    /// <summary>One completion.</summary>
    /// <param name="token">As given at submission.</param>
    /// <param name="result">Result, negative errno on failure.</param>
    /// <param name="flags">With More set, further completions of the same operation follow.</param>
    void OnCompletion(ulong token, int result, CompletionFlags flags);
}

/// <summary>Names an operation in flight, for cancelling it. Zero is none.</summary>
/// <param name="Value">User data of the entry: slot in the lower half, generation in the upper.</param>
public readonly record struct OperationId(ulong Value);
