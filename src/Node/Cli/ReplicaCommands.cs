using System.Buffers.Binary;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Ids;

namespace Ublk.Node.Cli;

/// <summary>The verbs for the replicas that lie on this host: their files, in use or not.</summary>
internal static class ReplicaCommands
{
    private static readonly Argument<string> s_image = new("IMAGE")
    {
        Description = "Path of the replica's image; its metadata lies next to it",
    };

    /// <summary>The command group.</summary>
    public static Command Build()
    {
        var replica = new Command("replica", "Replicas on this host: make one, look at one");
        replica.Subcommands.Add(Inspect());
        replica.Subcommands.Add(Check());
        replica.Subcommands.Add(Format());
        return replica;
    }

    private static Command Inspect()
    {
        var command = new Command("inspect", "Tell what a replica durably knows of itself") { s_image };
        command.Run((parse, output) =>
        {
            string image = parse.GetValue(s_image)!;
            var report = ReplicaReport.Of(image, ReplicaStore.Inspect(image, SystemBoot.Of(image)));
            if (output.IsJson)
            {
                Output.Json(JsonSerializer.Serialize(report, ReportJson.Default.ReplicaReport));
            }
            else
            {
                Print(report);
            }

            return Task.FromResult((int)ExitCode.Success);
        });
        return command;
    }

    private static Command Check()
    {
        var checksums = new Option<bool>("--checksums")
        {
            Description = "Also read the whole image and compare it with its checksums; the replica must " +
                "not be in use. Blocks that are not what was written: exit code 7",
        };
        var command = new Command("check",
            "Read every record of a replica's metadata and tell whether it can be used (exit code 0), " +
            "or what is wrong, where, and what mends it (exit code 7)")
        {
            s_image, checksums,
        };
        command.Run((parse, output) =>
        {
            string image = parse.GetValue(s_image)!;
            try
            {
                OpenedReplica found = ReplicaStore.Inspect(image, SystemBoot.Of(image));
                ReplicaVerdict verdict = new(image, "ok", null, null, ReplicaReport.FindingsOf(found));
                verdict = parse.GetValue(checksums) ? ReplicaChecksums.Compared(verdict, output) : verdict;
                Answer(output, verdict);
                return Task.FromResult((int)(
                    verdict.Checksums is { Damaged: > 0 } ? ExitCode.BadImage : ExitCode.Success));
            }
            catch (ReplicaStoreException wrong) when (output.IsJson)
            {
                long? offset = wrong.OffsetBytes >= 0 ? wrong.OffsetBytes : null;
                Answer(output, new ReplicaVerdict(
                    image, wrong.Error.ToString(), wrong.Message, offset, []));
                return Task.FromResult((int)ExitCodes.Of(wrong)!);
            }
        });
        return command;
    }

    private static Command Format()
    {
        Option<bool> import = Flag("--import",
            "The image's bytes are the volume's; the other replicas are made equal to it");
        Option<bool> replacement = Flag("--replacement",
            "The image's bytes are worth nothing; they come from the other replicas");
        Option<bool> checksums = Flag("--checksums",
            "Keep a checksum of every 4 KiB and compare what is read; all replicas of a volume do, or " +
            "none. Where it is not given, --overwrite keeps the choice of the replica that is there");
        Option<bool> overwrite = Flag("--overwrite", "Overwrite the metadata of the replica that is there");
        var size = new Option<long>("--size")
        {
            Description = "Size of the volume; without it, that of the image",
            CustomParser = Sizes.Parse,
        };
        var maxSize = new Option<long>("--max-size")
        {
            Description = "Size that the volume may grow to; without it, four times its size",
            CustomParser = Sizes.Parse,
        };
        Option<UInt128> cluster = Id("--cluster"), volume = Id("--volume");
        var replica = new Option<uint>("--replica")
        {
            Description = "Number of the replica in its volume, from 1",
            CustomParser = ParseReplica,
        };
        var command = new Command("format",
            "Make a replica; without --import or --replacement a new one that reads as zeros. " +
            "With --overwrite the ids of the replica that is there are kept where none are given")
        {
            s_image, import, replacement, overwrite, checksums, size, maxSize, cluster, volume, replica,
        };
        command.Run((parse, output) =>
        {
            string image = parse.GetValue(s_image)!;
            if (parse.GetValue(import) && parse.GetValue(replacement))
            {
                throw new CommandException(ExitCode.Usage, "--import and --replacement exclude each other");
            }

            Superblock? old = parse.GetValue(overwrite) ? ReplicaStore.TryReadSuperblock(image) : null;
            ReplicaIdentity asked = new(
                new ClusterId(parse.GetValue(cluster)), new VolumeId(parse.GetValue(volume)),
                new ReplicaId(parse.GetValue(replica)), NewIncarnation());
            Superblock made = ReplicaFormat.Create(image, new ReplicaFormatOptions
            {
                Identity = Completed(asked, old?.Identity),
                Content = parse.GetValue(import) ? ImageContent.Imported
                    : parse.GetValue(replacement) ? ImageContent.Replacement : ImageContent.New,
                SizeBytes = parse.GetValue(size) is > 0 and long bytes ? bytes : SizeOf(image, old),
                MaxSizeBytes = parse.GetValue(maxSize),
                LogicalBlockBytes = old?.LogicalBlockBytes ?? 512,
                Options = parse.GetResult(checksums) is not { Implicit: false }
                    ? old?.Options ?? StoreOptions.None
                    : parse.GetValue(checksums) ? StoreOptions.Checksums : StoreOptions.None,
                Overwrite = parse.GetValue(overwrite),
            });
            output.Say($"{image} is replica {made.Identity.Replica} of volume {made.Identity.Volume}, " +
                $"{Sizes.Format(made.SizeBytes)}, incarnation {made.Identity.Incarnation}");
            if (output.IsJson)
            {
                Answer(output, new ReplicaVerdict(image, "ok", null, null, []));
            }

            return Task.FromResult((int)ExitCode.Success);
        });
        return command;
    }

    private static Option<bool> Flag(string name, string description) =>
        new(name) { Description = description };

    private static Option<UInt128> Id(string name) => new(name)
    {
        Description = $"Id of the {name[2..]}: 32 hexadecimal digits",
        CustomParser = ParseId,
    };

    // With or without the hyphens of a UUID; all zero is no id.
    private static UInt128 ParseId(ArgumentResult result)
    {
        const int Digits = 32;
        string text = result.Tokens[0].Value;
        string digits = text.Replace("-", "", StringComparison.Ordinal);
        bool isId = UInt128.TryParse(
            digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out UInt128 id);
        if (!isId || digits.Length != Digits || id == 0)
        {
            result.AddError($"'{text}' is no id; write {Digits} hexadecimal digits, not all of them 0");
        }

        return id;
    }

    private static uint ParseReplica(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        bool isNumber = uint.TryParse(
            text, NumberStyles.None, CultureInfo.InvariantCulture, out uint number);
        if (!isNumber || number == 0)
        {
            result.AddError($"'{text}' is no replica; write a number of 1 to {uint.MaxValue}");
        }

        return number;
    }

    private static Incarnation NewIncarnation() =>
        new(BinaryPrimitives.ReadUInt128BigEndian(RandomNumberGenerator.GetBytes(16)));

    // What was not given, which is 0, is kept from the replica that is there.
    private static ReplicaIdentity Completed(ReplicaIdentity asked, ReplicaIdentity? old) => asked with
    {
        Cluster = asked.Cluster != default ? asked.Cluster : old?.Cluster ?? throw NoId("--cluster"),
        Volume = asked.Volume != default ? asked.Volume : old?.Volume ?? throw NoId("--volume"),
        Replica = asked.Replica != default ? asked.Replica : old?.Replica ?? throw NoId("--replica"),
    };

    private static CommandException NoId(string option) =>
        new(ExitCode.Usage, $"there is no replica whose ids could be kept; give {option}");

    private static long SizeOf(string image, Superblock? old)
    {
        if (File.Exists(image))
        {
            using BlockImage found = BlockImage.Open(image, readOnly: true, DirectMode.Off);
            return found.SizeBytes;
        }

        return old?.SizeBytes ??
            throw new CommandException(ExitCode.Usage, $"{image} is not there; give --size");
    }

    private static void Answer(Output output, ReplicaVerdict verdict)
    {
        if (output.IsJson)
        {
            Output.Json(JsonSerializer.Serialize(verdict, ReportJson.Default.ReplicaVerdict));
            return;
        }

        foreach (FindingReport finding in verdict.Findings)
        {
            output.Say($"note: {finding.Text} (offset {finding.OffsetBytes})");
        }

        foreach (string line in ReplicaChecksums.Lines(verdict.Checksums))
        {
            output.Say(line);
        }

        output.Say($"{verdict.Image}: {verdict.Verdict}");
    }

    private static void Print(ReplicaReport report)
    {
        static void Row(string name, string value) => Console.Out.WriteLine($"{name,-18} {value}");
        static string Text(HistoryReport point) => $"epoch {point.Epoch}, sequence {point.Sequence}";
        Row("image", report.Image);
        Row("cluster", report.Cluster);
        Row("volume", report.Volume);
        Row("replica", report.Replica.ToString());
        Row("incarnation", report.Incarnation);
        Row("size", $"{Sizes.Format(report.SizeBytes)} ({report.SizeBytes} bytes)");
        Row("block", $"{report.BlockBytes} bytes{(report.HasChecksums ? ", checksums" : "")}");
        Row("condition", report.Condition +
            (report.VoidedIn == 0 ? "" : $" in epoch {report.VoidedIn}") +
            (report.WillBeVoided ? "; voided at its next start" : ""));
        Row("live page", report.LivePage);
        Row("promise", report.PromisedEpoch == 0 ? "none"
            : $"epoch {report.PromisedEpoch} to node {report.PromisedNode}");
        Row("configuration", report.Configuration == 0 ? "none"
            : $"{report.Configuration}: {report.Members} replicas, W = {report.WriteQuorum}");
        Row("epoch start", Text(report.EpochStart));
        Row("histories", report.History.Count.ToString());
        Row("applied", $"{Text(report.Applied)}, {report.OutOfOrder} out of order");
        Row("durable", Text(report.Durable));
        Row("intents", Sizes.Format(report.IntentBytes));
        Row("missing", $"{report.MissingRegions} regions of 1 MiB");
        Row("longest lease", $"{report.LongestLeaseMs} ms");
        Row("ring", $"{report.RingRecords} records, last {report.LastRecord}, " +
            $"checkpoint from {report.CheckpointRecord}");
        foreach (FindingReport finding in report.Findings)
        {
            Row("note", $"{finding.Text} (offset {finding.OffsetBytes})");
        }
    }
}
