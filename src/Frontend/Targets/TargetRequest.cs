using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Frontend.Targets;

/// <summary>A request to a target while a file carries it out: who asked, and what they call it.</summary>
/// <param name="completion">Hears of the end.</param>
/// <param name="token">From the request.</param>
internal readonly struct TargetRequest(IBlockCompletion completion, ulong token) : IFileCompletion
{
    /// <inheritdoc/>
    public void OnFileCompleted(int result) =>
        completion.OnBlockCompleted(token, BlockStatusMap.FromResult(result));
}
