using Ublk.Wire.Blocks;

namespace Ublk.Tests.Unit.Ublk;

/// <summary>Keeps the ends of requests that were put to a target directly.</summary>
internal sealed class CompletionLog : IBlockCompletion
{
    public List<(ulong Token, BlockStatus Status)> Ends { get; } = [];

    public void OnBlockCompleted(ulong token, BlockStatus status) => Ends.Add((token, status));
}
