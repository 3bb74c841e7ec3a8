using Ublk.Replication.Runtime;
using Ublk.Replication.Store;

namespace Ublk.Node.Cli;

/// <summary>The image of a replica against its checksums, for 'replica check --checksums'.</summary>
internal static class ReplicaChecksums
{
    /// <summary>Reads the image of a replica that is not in use.</summary>
    /// <param name="verdict">What is known of it already.</param>
    /// <param name="output">Progress is for people at a terminal.</param>
    /// <returns>The verdict on both.</returns>
    /// <exception cref="ReplicaStoreException">It keeps no checksums, or they cannot be read.</exception>
    public static ReplicaVerdict Compared(ReplicaVerdict verdict, Output output)
    {
        bool isShown = !output.IsJson && !Console.IsErrorRedirected;
        long shown = -1;
        ChecksumReport report = ChecksumScan.Run(verdict.Image, SystemBoot.Of(verdict.Image), (done, all) =>
        {
            long percent = 100 * done / all;
            if (isShown && percent != shown)
            {
                shown = percent;
                Console.Error.Write($"\r{percent}% of {Sizes.Format(all)}");
            }
        });
        if (isShown)
        {
            Console.Error.WriteLine();
        }

        ReplicaVerdict compared = verdict with { Checksums = ChecksumVerdict.Of(report) };
        return report.Damaged == 0 ? compared : compared with
        {
            Verdict = nameof(ReplicaStoreError.Damaged),
            Message = $"blocks of 4 KiB that are not what was written: {report.Damaged}; the volume reads " +
                "them from other replicas, and a scrub repairs them",
            OffsetBytes = null,
        };
    }

    /// <summary>What was found, for people.</summary>
    /// <param name="verdict">It; null where nobody asked.</param>
    public static IEnumerable<string> Lines(ChecksumVerdict? verdict)
    {
        if (verdict is null)
        {
            yield break;
        }

        foreach (RangeReport range in verdict.Ranges)
        {
            yield return $"damaged: {range.LengthBytes} bytes at {range.OffsetBytes}";
        }

        yield return $"checksums: {verdict.Sound} blocks sound, {verdict.Unknown} unknown, " +
            $"{verdict.InDoubt} in doubt, {verdict.Damaged} damaged";
    }
}
