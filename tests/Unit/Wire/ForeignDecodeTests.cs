using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Ublk.Tests.Unit.Tidy;
using Ublk.Tests.Unit.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;
using Xunit;

namespace Ublk.Tests.Unit.Wire;

/// <summary>
/// The MessagePack library of another language, python3-msgpack of Debian, reads a captured stream and finds
/// what docs/protocol-examples.txt and our own decoder say.
/// </summary>
public sealed class ForeignDecodeTests
{
    // The distribution's own, which the package belongs to, whatever else is on the path.
    private const string Python = "/usr/bin/python3";

    [Fact]
    public async Task PythonReadsWhatTheExamplesSay()
    {
        JsonElement[] messages = await Unpack(CapturedStream.Golden());
        Assert.Equal(
            GoldenSamples.All.Select(sample => MessageGoldenTests.Examples[sample.Name].Shown),
            messages.Select(Show), StringComparer.Ordinal);
    }

    [Fact]
    public async Task PythonReadsTheFieldsThatWeRead()
    {
        JsonElement[] messages = await Unpack(CapturedStream.Golden());
        foreach ((Sample sample, JsonElement message) in GoldenSamples.All.Zip(messages))
        {
            MessageHead head = MessageParser.Parse(sample.Whole());
            var fields = new ValueFields([(int)head.Kind], sample.Whole()[sample.Head.Length..]);
            head.Describe(ref fields);
            Assert.Equal(fields.Values.ToJsonString(), message.GetRawText());
        }
    }

    private static async Task<JsonElement[]> Unpack(byte[] stream)
    {
        bool hasLibrary = Programs.Run(Python, out _, "-c", "import msgpack") == 0;
        Assert.SkipUnless(hasLibrary, "python3-msgpack is missing; as root on Debian eng/test installs it");
        using Process python = Process.Start(new ProcessStartInfo(Python)
        {
            ArgumentList = { Repository.Full("tests/Unit/Wire/unpack.py") },
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            UseShellExecute = false,
        })!;

        Task<string> output = python.StandardOutput.ReadToEndAsync();
        await python.StandardInput.BaseStream.WriteAsync(stream);
        python.StandardInput.Close();
        await python.WaitForExitAsync();
        Assert.Equal(0, python.ExitCode);
        return [.. (await output).Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonDocument.Parse(line).RootElement)];
    }

    private static string Show(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => $"[{string.Join(", ", value.EnumerateArray().Select(Show))}]",
        JsonValueKind.Object => $"bin {value.GetProperty("bin").GetString()!.Length / 2}",
        _ => value.GetRawText(),
    };

    /// <summary>The fields without their names, as they lie on the wire.</summary>
    private readonly struct ValueFields(JsonArray values, byte[] payload) : IFieldSink
    {
        public JsonArray Values => values;

        public void Integer(ulong value, ulong max, string name = "") => values.Add((JsonNode)value);

        public void Checksum(uint value, string name = "") => values.Add((JsonNode)value);

        public void OneOf<T>(T value, T first, T last, string name = "")
            where T : struct, Enum => values.Add((JsonNode)Convert.ToByte(value));

        public void Bits128(UInt128 value, string name = "") => values.Add(Bin(value.ToString("x32")));

        public void Put(Writer value, string name = "")
        {
            values.Add((JsonNode)value.Node.Value);
            values.Add((JsonNode)value.Nonce);
        }

        public void Boolean(bool value, string name = "") => values.Add((JsonNode)value);

        public void Text(scoped ReadOnlySpan<byte> text, int maxBytes, string name = "") =>
            values.Add((JsonNode)System.Text.Encoding.UTF8.GetString(text));

        public void List<T>(scoped MessageList<T> list, int maxCount, string name = "")
            where T : struct, IListEntry<T>
        {
            var entries = new JsonArray();
            foreach (T entry in list)
            {
                var fields = new ValueFields([], payload);
                T.Encode(entry, ref fields);
                entries.Add((JsonNode)fields.Values);
            }

            values.Add((JsonNode)entries);
        }

        public void Payload(int lengthBytes)
        {
            Assert.Equal(payload.Length, lengthBytes);
            values.Add(Bin(Convert.ToHexStringLower(payload)));
        }

        private static JsonObject Bin(string hex) => new JsonObject { ["bin"] = hex };
    }
}
